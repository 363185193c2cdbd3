"""Times, ceilings and memory on a CUDA device, in the terms of a benchmark: what benchmarks/gpu_kernels.py is written with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.bench import OURS, Case, Count, Goal, Variant, budget

FLUSH_BYTES = 256 << 20
"""Written before each call: more than any second-level cache holds."""
NUM_RUNS = 10


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the device can do, measured here and now."""

    bf16_flops_per_s: float
    """Of a matrix product of 8192 x 8192 x 8192."""
    copied_bytes_per_s: float
    """Read and written ones both."""

    def floor_s(self, *, flops: float = 0.0, moved_bytes: float = 0.0) -> float:
        """The shortest time for so many operations in products and so many bytes."""
        return flops / self.bf16_flops_per_s + moved_bytes / self.copied_bytes_per_s


def measure_ceilings() -> Ceilings:
    """The best of a few runs."""
    a, b = torch.randn(2, 8192, 8192, dtype=torch.bfloat16, device="cuda")
    out = torch.empty_like(a)
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    product, copy = on_gpu(lambda: torch.mm(a, b, out=out)), on_gpu(lambda: target.copy_(source))
    product_s, copy_s = (min(run() for _ in range(NUM_RUNS)) for run in (product, copy))
    return Ceilings(2 * 8192**3 / product_s, 2 * source.nbytes / copy_s)


def on_gpu(call: Callable[[], object]) -> Variant:
    """``call`` as a variant, timed by the device's own clock, on inputs that are in no cache.

    The write that clears the cache also keeps the device busy while the first kernels of ``call`` are queued: what is timed is the device,
    unless ``call`` has more kernels than Python can queue in time, which is then rightly counted.
    """

    def run() -> float:
        torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda").zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    return run


def peak_gpu_bytes(call: Callable[[], object]) -> int:
    """Bytes of CUDA tensors that live at the peak of ``call``, beyond those from before."""
    call()  # what is kept for good: workspaces of libraries
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def gpu_case(
    name: str,
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    *,
    check: Callable[[], None],
    floor_s: float,
    at_most_floors: float,
    at_least: Mapping[str, float],
    counts: Callable[[], Sequence[Count]] = tuple,
) -> Case:
    """A case whose goals are a multiple of the floor, and ratios to peers; a peer that is not installed is missing in ``peers`` alone."""
    calls = {OURS: ours, **peers}
    return Case(
        name=name,
        variants={**{variant: on_gpu(call) for variant, call in calls.items()}, "floor": budget(floor_s)},
        check=check,
        goals=[Goal(peer="floor", at_least=1 / at_most_floors), *(Goal(peer=peer, at_least=ratio) for peer, ratio in at_least.items())],
        counts=counts,
    )
