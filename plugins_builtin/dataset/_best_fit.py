"""Best-fit-decreasing bin packing over whole numbers, a group of equal lengths at a time.

The longest first, each goes where it leaves the least room (Johnson 1973, "Near-optimal bin packing algorithms": never more than 11/9 of
the fewest bins, plus 4). Lengths are whole numbers up to the capacity, so bins lie in one bucket for each amount of room. A bin in which a
length fits best is still the best one for the next of the same length as long as it fits, so ``room // length`` of them go in at once, and
whole buckets are filled at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Packing:
    """Bins of items: bin ``i`` holds ``items[starts[i]:starts[i + 1]]``."""

    items: Integers
    """Item numbers, ascending within each bin."""
    starts: Integers
    """Where each bin starts in ``items``, and the end of the last; bins are ordered by their first item."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Integers:
        return self.items[self.starts[index] : self.starts[index + 1]]

    def __iter__(self) -> Iterator[Integers]:
        return (self[index] for index in range(len(self)))


def pack_best_fit(lengths: ArrayLike, capacity: int) -> Packing:
    """Items of ``lengths`` in bins whose lengths sum to ``capacity`` at most.

    Raises:
        ValueError: a length below 1 or above ``capacity``.
    """
    lengths_N = np.asarray(lengths, dtype=np.int64)
    wrong = np.flatnonzero((lengths_N < 1) | (lengths_N > capacity))
    if len(wrong):
        raise ValueError(f"item {wrong[0]} has length {lengths_N[wrong[0]]}: expected 1 to the capacity {capacity}")
    longest_first_N = np.argsort(-lengths_N, kind="stable")
    return _grouped(longest_first_N, _place(lengths_N[longest_first_N], capacity))


def _place(lengths_N: Integers, capacity: int) -> Integers:
    """The bin of each of ``lengths_N``, which descend."""
    placed: list[int] = []
    bins_by_room: dict[int, list[int]] = {}
    rooms = 0  # bit r is set where a bin has room r
    num_bins = 0
    sizes, counts = np.unique(-lengths_N, return_counts=True)
    for size, count in zip((-sizes).tolist(), counts.tolist(), strict=True):
        left = count
        while left:
            fitting = rooms >> size
            room = size + (fitting & -fitting).bit_length() - 1 if fitting else capacity
            per_bin = room // size
            wanted = -(-left // per_bin)
            if fitting:
                bucket = bins_by_room[room]
                used = bucket[-wanted:]
                del bucket[-wanted:]
                if not bucket:
                    rooms ^= 1 << room
            else:
                used = list(range(num_bins, num_bins + wanted))
                num_bins += wanted
            taken = min(len(used) * per_bin, left)
            placed += used if per_bin == 1 else [number for number in used for _ in range(per_bin)][:taken]
            left -= taken
            last = taken - (len(used) - 1) * per_bin  # the last bin may get fewer
            for room_left, group in ((room - per_bin * size, used[:-1]), (room - last * size, used[-1:])):
                if room_left and group:
                    bins_by_room.setdefault(room_left, []).extend(group)
                    rooms |= 1 << room_left
    return np.array(placed, dtype=np.int64)


def _grouped(items_N: Integers, bins_N: Integers) -> Packing:
    """Items by bin, in the order of the data: bins by their first item, items ascending."""
    by_item_N = np.empty_like(bins_N)
    by_item_N[items_N] = bins_N
    num_bins = int(bins_N.max()) + 1 if len(bins_N) else 0
    first_item = np.full(num_bins, len(bins_N))
    np.minimum.at(first_item, bins_N, items_N)
    rank = np.empty(num_bins, dtype=np.int64)
    rank[np.argsort(first_item, kind="stable")] = np.arange(num_bins)
    ordered_N = rank[by_item_N]
    items = np.argsort(ordered_N, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(ordered_N, minlength=num_bins))))
    return Packing(items=items, starts=starts.astype(np.int64))
