"""Best-fit-decreasing bin packing over whole numbers, a group of equal lengths at a time.

The longest first, each goes where it leaves the least room (Johnson 1973, "Near-optimal bin packing algorithms": never more than 11/9 of
the fewest bins, plus 4). Lengths are whole numbers up to the capacity, so bins lie in one bucket for each amount of room. A bin in which a
length fits best is still the best one for the next of the same length as long as it fits, so ``room // length`` of them go in at once, and
whole buckets are filled at a time.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import NDArray


def best_fit_bins(lengths_N: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """The bin of each item; bins are numbered from 0."""
    longest_first_N = np.argsort(-lengths_N, kind="stable")
    bins_N = np.empty_like(lengths_N)
    bins_N[longest_first_N] = _place(*np.unique(-lengths_N, return_counts=True), capacity)
    return bins_N


def _place(negative_sizes: NDArray[np.int64], counts: NDArray[np.intp], capacity: int) -> list[int]:
    """The bin of each item, where ``counts`` items of each size come, the longest first."""
    placed: list[int] = []
    bins_by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # the keys of bins_by_room, ascending
    num_bins = 0
    for size, count in zip((-negative_sizes).tolist(), counts.tolist(), strict=True):
        left = count
        while left:
            place = bisect_left(rooms, size)
            is_new = place == len(rooms)
            room = capacity if is_new else rooms[place]
            per_bin = room // size
            wanted = -(-left // per_bin)
            if is_new:
                used = list(range(num_bins, num_bins + wanted))
                num_bins += wanted
            else:
                bucket = bins_by_room[room]
                used = bucket[-wanted:]
                del bucket[-wanted:]
                if not bucket:
                    del bins_by_room[room], rooms[place]
            taken = min(len(used) * per_bin, left)
            placed += used if per_bin == 1 else [number for number in used for _ in range(per_bin)][:taken]
            left -= taken
            last = taken - (len(used) - 1) * per_bin  # the last bin may get fewer
            for room_left, group in ((room - per_bin * size, used[:-1]), (room - last * size, used[-1:])):
                if room_left and group:
                    if room_left not in bins_by_room:
                        bins_by_room[room_left] = []
                        insort(rooms, room_left)
                    bins_by_room[room_left] += group
    return placed
