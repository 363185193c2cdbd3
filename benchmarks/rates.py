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

    def best(self, other: Rates) -> Rates:
        """The better of each rate."""
        products = {
            dtype: {shape: max(rate, other.gemm_flops_per_s[dtype][shape]) for shape, rate in shapes.items()}
            for dtype, shapes in self.gemm_flops_per_s.items()
        }
        return Rates(
            gemm_flops_per_s=products,
            copy_bytes_per_s=max(self.copy_bytes_per_s, other.copy_bytes_per_s),
            tiny_op_us=min(self.tiny_op_us, other.tiny_op_us),
        )

    def drift(self, later: Rates) -> tuple[str, float]:
        """The rate that changed most, and by what share."""
        after = later._by_name()
        changes = {name: max(rate, after[name]) / min(rate, after[name]) - 1 for name, rate in self._by_name().items()}
        return max(changes.items(), key=lambda change: change[1])

    def _by_name(self) -> dict[str, float]:
        products = {f"{dtype} product, {shape}": rate for dtype, shapes in self.gemm_flops_per_s.items() for shape, rate in shapes.items()}
        return {**products, "copy": self.copy_bytes_per_s, "tiny operation": self.tiny_op_us}
