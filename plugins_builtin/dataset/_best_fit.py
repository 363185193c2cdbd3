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
    rooms_N = (capacity - lengths_N).astype(np.min_scalar_type(capacity))  # numpy sorts 16 bits ten times as fast as 64
    bins_N = np.empty_like(lengths_N)
    bins_N[np.argsort(rooms_N, kind="stable")] = _place(*np.unique(rooms_N, return_counts=True), capacity)
    return bins_N


def _place(rooms_beside: NDArray[np.unsignedinteger], counts: NDArray[np.intp], capacity: int) -> list[int]:
    """The bin of each item, the longest first, where ``counts`` items are so long that alone in a bin they leave each of these rooms."""
    placed: list[int] = []
    bins_by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # the keys of bins_by_room, ascending
    num_bins = 0
    smallest = capacity - int(rooms_beside[-1]) if len(rooms_beside) else 0

    def keep(bins: list[int], room: int) -> None:
        if room in bins_by_room:
            bins_by_room[room] += bins
        elif room >= smallest:  # what has less is full
            bins_by_room[room] = bins
            insort(rooms, room)

    for room_beside, count in zip(rooms_beside.tolist(), counts.tolist(), strict=True):
        size, left = capacity - room_beside, count
        while left:
            place = bisect_left(rooms, size)
            is_new = place == len(rooms)
            room = capacity if is_new else rooms[place]
            if left == 1:  # most are alone where sizes are many: what follows would do the same in a quarter more time
                if is_new:
                    used = [num_bins]
                    num_bins += 1
                elif len(bins_by_room[room]) > 1:
                    used = [bins_by_room[room].pop()]
                else:
                    used = bins_by_room.pop(room)
                    del rooms[place]
                placed += used
                keep(used, room - size)
                break
            per_bin = room // size
            wanted = 1 if left <= per_bin else -(-left // per_bin)
            if is_new:
                used = list(range(num_bins, num_bins + wanted))
                num_bins += wanted
            elif wanted < len(bins_by_room[room]):
                used = bins_by_room[room][-wanted:]
                del bins_by_room[room][-wanted:]
            else:
                used = bins_by_room.pop(room)
                del rooms[place]
            if len(used) > 1:  # all but the last are filled as far as this size goes
                filled, used = used[:-1], used[-1:]
                placed += filled if per_bin == 1 else [number for number in filled for _ in range(per_bin)]
                left -= per_bin * len(filled)
                keep(filled, room - per_bin * size)
            in_last = per_bin if per_bin < left else left
            placed += used * in_last
            left -= in_last
            keep(used, room - in_last * size)
    return placed
