"""Measures what this machine can do right now: matrix products, copies, and one tiny operation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial, reduce

import torch

from benchmarks.rates import Rates

SHAPES = {"64 rows": (64, 1024, 1024), "square": (512, 512, 512), "vocabulary": (64, 256, 16_384)}
"""Rows, inner width and columns of the products. Each takes a millisecond or two, less than the time slice of a neighbour."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COPY_BYTES, NUM_PIECES = 256 << 20, 64
"""A buffer that no cache holds, copied piece by piece."""
NUM_ROUNDS = 3
NUM_RUNS = 20
MAX_S = 0.15
"""For the runs of one rate: without instructions for it a product in bfloat16 takes a hundred times as long."""
NUM_TINY = 1_000


def calibrate() -> Rates:
    """The best of each rate in :data:`NUM_ROUNDS` rounds, on the thread and core of the caller, in about two seconds.

    A core is slow for a tenth of a second now and then, which is as long as one rate takes.
    """
    rounds = [_measure() for _ in range(NUM_ROUNDS)]
    return reduce(Rates.best, rounds)


def _measure() -> Rates:
    gemm = {name: {shape: _gemm_flops_per_s(dtype, *size) for shape, size in SHAPES.items()} for name, dtype in DTYPES.items()}
    tiny = torch.zeros(8)

    def tiny_ops() -> None:
        for _ in range(NUM_TINY):
            tiny.add_(1)

    return Rates(gemm_flops_per_s=gemm, copy_bytes_per_s=_copy_bytes_per_s(), tiny_op_us=_best_s([tiny_ops] * NUM_RUNS) / NUM_TINY * 1e6)


def _gemm_flops_per_s(dtype: torch.dtype, rows: int, inner: int, columns: int) -> float:
    a, b = torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype)
    out = torch.empty(rows, columns, dtype=dtype)
    return 2 * rows * inner * columns / _best_s([lambda: torch.mm(a, b, out=out)] * NUM_RUNS)


def _copy_bytes_per_s() -> float:
    source = torch.zeros(NUM_PIECES, COPY_BYTES // NUM_PIECES, dtype=torch.uint8)
    target = torch.zeros_like(source)  # written once, so that no page is missing later
    return 2 * (COPY_BYTES // NUM_PIECES) / _best_s([partial(piece.copy_, other) for piece, other in zip(target, source, strict=True)])


def _best_s(calls: Sequence[Callable[[], object]], max_s: float = MAX_S) -> float:
    """The shortest of these calls, after one to warm up, or of as many as ``max_s`` allows."""
    calls[0]()
    times: list[float] = []
    for call in calls:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
        if sum(times) > max_s:
            break
    return min(times)
