"""Measures what this machine can do right now: matrix products, copies, and one tiny operation."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.rates import Rates

SHAPES = {"64 rows": (64, 1024, 1024), "square": (1024, 1024, 1024), "vocabulary": (256, 256, 32_768)}
"""Rows, inner width and columns of the products."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COPY_BYTES = 256 << 20
NUM_RUNS = 5
NUM_TINY = 2_000


def calibrate() -> Rates:
    """Measures for about a second, on the thread and core of the caller."""
    gemm = {name: {shape: _gemm_flops_per_s(dtype, *size) for shape, size in SHAPES.items()} for name, dtype in DTYPES.items()}
    source = torch.zeros(COPY_BYTES, dtype=torch.uint8)
    target = torch.zeros_like(source)
    copy_s = _best_s(lambda: target.copy_(source))
    tiny = torch.zeros(8)

    def tiny_ops() -> None:
        for _ in range(NUM_TINY):
            tiny.add_(1)

    return Rates(gemm_flops_per_s=gemm, copy_bytes_per_s=2 * COPY_BYTES / copy_s, tiny_op_us=_best_s(tiny_ops) / NUM_TINY * 1e6)


def _gemm_flops_per_s(dtype: torch.dtype, rows: int, inner: int, columns: int) -> float:
    a, b = torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype)
    out = torch.empty(rows, columns, dtype=dtype)
    return 2 * rows * inner * columns / _best_s(lambda: torch.mm(a, b, out=out))


def _best_s(call: Callable[[], object]) -> float:
    """The shortest of a few runs, after one to warm up."""
    call()
    times = []
    for _ in range(NUM_RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
