"""What a machine can do: the rates that floors are made from, and how much they changed while a benchmark ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.bench import Work

MAX_DRIFT = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Each the best of a few runs, so that a short interruption does not count."""

    gemm_flops_per_s: Mapping[str, Mapping[str, float]]
    """By dtype, then by shape."""
    copy_bytes_per_s: float
    """Bytes read and written."""
    tiny_op_us: float

    def floor_s(self, work: Work) -> float:
        """The shortest possible time of ``work``: products at the best rate of their dtype, then the bytes at that of a copy."""
        products_s = sum(flops / max(self.gemm_flops_per_s[dtype].values()) for dtype, flops in work.gemm_flops.items())
        return products_s + work.moved_bytes / self.copy_bytes_per_s

    def drift(self, later: Rates) -> float:
        """The largest relative change of a rate."""
        pairs = [(self.copy_bytes_per_s, later.copy_bytes_per_s), (self.tiny_op_us, later.tiny_op_us)]
        for dtype, shapes in self.gemm_flops_per_s.items():
            pairs += [(rate, later.gemm_flops_per_s[dtype][shape]) for shape, rate in shapes.items()]
        return max(max(a, b) / min(a, b) - 1 for a, b in pairs)
