"""Items in bins of one capacity: what packing gives, and which of our two ways gives it in fewer bins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinkle.plugins_builtin.dataset._best_fit import best_fit_bins
from twinkle.plugins_builtin.dataset._pair_completion import pair_completion_bins

Integers = NDArray[np.int64]
_GOOD_ENOUGH = 1.001
"""Bins, as a multiple of the fewest there can be, with which the slower way is not tried."""


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


def pack(lengths: ArrayLike, capacity: int) -> Packing:
    """Items of ``lengths`` in bins whose lengths sum to ``capacity`` at most; the same for the same lengths.

    Best-fit decreasing where that comes within 0.1 % of the fewest bins, as it does for many items of all sizes; otherwise what fills
    more of that and of pair completion, which suits items of like sizes.

    Raises:
        ValueError: a length below 1 or above ``capacity``.
    """
    lengths_N = np.asarray(lengths, dtype=np.int64)
    wrong = np.flatnonzero((lengths_N < 1) | (lengths_N > capacity))
    if len(wrong):
        raise ValueError(f"item {wrong[0]} has length {lengths_N[wrong[0]]}: expected 1 to the capacity {capacity}")
    bins_N = best_fit_bins(lengths_N, capacity)
    fewest = -(-int(lengths_N.sum()) // capacity)
    if len(lengths_N) and bins_N.max() + 1 > max(fewest, _GOOD_ENOUGH * fewest):
        others_N = pair_completion_bins(lengths_N, capacity)
        bins_N = others_N if others_N.max() < bins_N.max() else bins_N
    return _in_order(bins_N)


def _in_order(bins_N: Integers) -> Packing:
    """Bins by their first item, items ascending."""
    num_bins = int(bins_N.max(initial=-1)) + 1
    first_items = np.empty(num_bins, dtype=np.int64)
    first_items[bins_N[::-1]] = np.arange(len(bins_N))[::-1]  # the last one to be written is the first item
    ranks = np.empty(num_bins, dtype=np.int64)
    ranks[np.argsort(first_items)] = np.arange(num_bins)
    ordered_N = ranks[bins_N]
    starts = np.concatenate(([0], np.cumsum(np.bincount(ordered_N, minlength=num_bins))))
    keys_N = ordered_N.astype(np.min_scalar_type(num_bins))  # numpy sorts 16 bits ten times as fast as 64
    return Packing(items=np.argsort(keys_N, kind="stable"), starts=starts)
