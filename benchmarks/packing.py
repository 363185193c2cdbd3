"""Packing sample lengths into sequences: ours against the ``binpacking`` package, in one process, on one pinned thread.

``binpacking`` takes a time that grows with the square of the number of lengths, so it gets them 1,000 at a time, as published
trainers call it. Prints ratios. Absolute times say nothing across machines; the pairs are timed in turns (ABBA) and the median of their
ratios counts.
Goals: at least 20 times as fast at 99.9 % fill or more; 99 % or more in windows of 1,000.

    pip install binpacking && python benchmarks/packing.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinkle.plugins_builtin.dataset._bin_packing import pack
from twinkle.plugins_builtin.dataset._packed_window import PackedWindow

WINDOW = 1_000


def sample_lengths(count: int, capacity: int, seed: int = 0) -> NDArray[np.int64]:
    """Lengths of chats: log-normal with a median of an eighth of ``capacity``, cut to it."""
    draws = np.random.default_rng(seed).lognormal(np.log(capacity / 8), 0.8, count)
    return np.clip(draws, 1, capacity).astype(np.int64)


def time_s(call: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(peer: Callable[[], Any], ours: Callable[[], Any], pairs: int) -> float:
    """How many times as fast ``ours`` is: the median over ABBA pairs."""
    found = []
    for number in range(pairs):
        first, second = (peer, ours) if number % 2 == 0 else (ours, peer)
        times = {first: time_s(first)}
        times[second] = time_s(second)
        found.append(times[peer] / times[ours])
    return statistics.median(found)


def stream_fill(lengths: NDArray[np.int64], capacity: int, window: int) -> float:
    """Fill of a stream that is packed ``window`` samples at a time."""
    packer = PackedWindow(capacity=capacity, window=window)

    def bins() -> Iterator[list[tuple[int, int]]]:
        for number, length in enumerate(lengths.tolist()):
            yield from packer.add((number, length), length)
        yield from packer.flush()

    num_bins = sum(1 for _ in bins())
    return float(lengths.sum() / (num_bins * capacity))


def main() -> None:
    """Prints a row a number of lengths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--capacities", type=int, nargs="+", default=[512, 2048, 8192, 32768])
    parser.add_argument("--pairs", type=int, default=10)
    arguments = parser.parse_args()
    import binpacking

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'lengths':>9} {'capacity':>8} {'ours':>8} {'binpacking':>10} {'in 1,000s':>9} {'times as fast':>13}")
    for count in arguments.counts:
        for capacity in arguments.capacities:
            lengths = sample_lengths(count, capacity)
            items = list(enumerate(lengths.tolist()))

            def peer(items: list[tuple[int, int]] = items, capacity: int = capacity) -> Any:
                windows = (items[start : start + WINDOW] for start in range(0, len(items), WINDOW))
                return [packed for window in windows for packed in binpacking.to_constant_volume(window, capacity, weight_pos=1)]

            def ours(lengths: NDArray[np.int64] = lengths, capacity: int = capacity) -> Any:
                return pack(lengths, capacity)

            fills = [lengths.sum() / (len(bins) * capacity) for bins in (ours(), peer())]
            times = ratio(peer, ours, arguments.pairs)
            streamed = stream_fill(lengths, capacity, WINDOW)
            print(f"{count:>9} {capacity:>8} {fills[0]:>8.2%} {fills[1]:>10.2%} {streamed:>9.2%} {times:>12.1f}x", flush=True)


if __name__ == "__main__":
    main()
