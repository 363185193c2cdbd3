"""Bin packing for items of like sizes: each bin starts with the largest item and random ones, and a pair that fits exactly ends it.

Best-fit decreasing puts the longest with the longest, so items of like sizes leave the same gap in bin after bin, and nothing small is
left to fill it. Drawn at random, the items that remain are as varied at the end as at the beginning, and among many different sizes some
pair fills the last gap. (Korf 2002, "A new algorithm for optimal bin packing", completes bins exactly in a search; this is its greedy kin.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PAIR_ROOM = 2.5
"""A bin with at most this many mean lengths of room is ended by a pair."""
_MAX_PAIRS = 256
"""Pairs that are tried for a bin."""


def pair_completion_bins(lengths_N: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """The bin of each item; bins are numbered from 0, and the draw is the same each time."""
    items = _Items(lengths_N)
    bins_N = np.empty_like(lengths_N)
    number = 0
    while items.sizes:
        members = [items.take(items.largest(capacity))]
        room = capacity - items.lengths[members[0]]
        while items.largest(room):
            drawn = items.draw(room) if room > _PAIR_ROOM * items.mean_length else None
            chosen = [drawn] if drawn is not None else [items.take(size) for size in items.best_pair(room)]
            members += chosen
            room -= sum(items.lengths[item] for item in chosen)
        bins_N[members] = number
        number += 1
    return bins_N


class _Items:
    """The items that are not yet placed."""

    def __init__(self, lengths_N: NDArray[np.int64]) -> None:
        self.lengths: list[int] = lengths_N.tolist()
        self.sizes = 0
        """Bit s is set where an item of size s is left."""
        self._by_size: dict[int, list[int]] = {}
        self._order: list[int] = np.random.default_rng(0).permutation(len(self.lengths)).tolist()
        for item in self._order:
            self._by_size.setdefault(self.lengths[item], []).append(item)
        for size in self._by_size:
            self.sizes |= 1 << size
        self._num_left = len(self.lengths)
        self._sum_left: int = sum(self.lengths)
        self._placed = bytearray(len(self.lengths))
        self._num_left_of = {size: len(items) for size, items in self._by_size.items()}

    @property
    def mean_length(self) -> float:
        """The mean length of what is left."""
        return self._sum_left / self._num_left

    def largest(self, room: int) -> int:
        """The largest size up to ``room``; 0 where none is left."""
        return max((self.sizes & ((1 << (room + 1)) - 1)).bit_length() - 1, 0)

    def take(self, size: int) -> int:
        """An item of ``size``, placed."""
        items = self._by_size[size]
        while self._placed[items[-1]]:
            items.pop()
        return self._place(items.pop())

    def draw(self, room: int) -> int | None:
        """The next item of the random order, placed; None where it does not fit into ``room``."""
        while self._placed[self._order[-1]]:
            self._order.pop()
        return None if self.lengths[self._order[-1]] > room else self._place(self._order.pop())

    def best_pair(self, room: int) -> tuple[int, ...]:
        """Two sizes that leave the least of ``room``, or one where that is better."""
        first = self.largest(room)
        best: tuple[int, ...] = (first,)
        least = room - first
        for _ in range(_MAX_PAIRS):
            if not least or 2 * first < room - least:
                break
            second = self._largest_beside(first, room - first)
            if second and room - first - second < least:
                best, least = (first, second), room - first - second
            first = self.largest(first - 1)
            if not first:
                break
        return best

    def _largest_beside(self, first: int, room: int) -> int:
        second = self.largest(room)
        return self.largest(first - 1) if second == first and self._num_left_of[first] == 1 else second

    def _place(self, item: int) -> int:
        size = self.lengths[item]
        self._placed[item] = 1
        self._num_left -= 1
        self._sum_left -= size
        self._num_left_of[size] -= 1
        if not self._num_left_of[size]:
            self.sizes ^= 1 << size
        return item
