"""The mean loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from twinkle.core.contracts.metric import Metric
from twinkle.plugins_builtin.metric._rank_sum import sum_over_ranks
from twinkle.plugins_builtin.metric._value import MetricValue

if TYPE_CHECKING:
    import torch.distributed as dist

    from twinkle.core.mesh import DeviceMesh


class LossMetric(Metric):
    """``loss``: the sum of all losses over the sum of their denominators since the last reset; ``grad_norm``: that of the last step."""

    def __init__(
        self,
        device_mesh: DeviceMesh | None = None,
        process_group: dist.ProcessGroup | None = None,
        loss_reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        """
        Args:
            process_group: the data ranks that are averaged over.
            loss_reduction: "sum" gives the sum itself, not divided.
        """
        self.device_mesh = device_mesh
        self.process_group = process_group
        self.loss_reduction = loss_reduction
        self._total: Tensor | float = 0.0
        self._count: Tensor | float = 0.0
        self._grad_norm: Tensor | float | None = None

    def accumulate(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], *, grad_norm: Tensor | float | None = None) -> None:
        """Takes ``outputs['loss']`` (a sum) and ``outputs['num_tokens']`` (its denominator) in."""
        self._total = self._total + outputs["loss"].detach()
        self._count = self._count + outputs["num_tokens"]
        if grad_norm is not None:
            self._grad_norm = grad_norm

    def calculate(self) -> dict[str, Any]:
        """``loss`` with four decimals and ``grad_norm`` with six, where there was a step."""
        if isinstance(self._total, float):
            return {}
        total, count = sum_over_ranks([self._total, self._count], self.process_group)
        loss = total if self.loss_reduction == "sum" else total / max(count, 1e-300)
        values: dict[str, Any] = {"loss": MetricValue(loss, f"{loss:.4f}")}
        if self._grad_norm is not None and float(self._grad_norm) > 0:
            norm = float(self._grad_norm)
            values["grad_norm"] = MetricValue(norm, f"{norm:.6f}")
        return values

    def reset(self) -> None:
        """Forgets everything."""
        self._total = 0.0
        self._count = 0.0
        self._grad_norm = None
