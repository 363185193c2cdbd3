"""Token accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from twinkle.core.contracts.metric import Metric
from twinkle.plugins_builtin.metric._rank_sum import sum_over_ranks
from twinkle.plugins_builtin.metric._value import MetricValue

if TYPE_CHECKING:
    import torch.distributed as dist

    from twinkle.core.mesh import DeviceMesh


class Accuracy(Metric):
    """``accuracy``: the share of labels that are the likeliest token; of ``completion_mask`` alone where there is one."""

    require_predictions: ClassVar[bool] = True

    def __init__(self, device_mesh: DeviceMesh | None = None, process_group: dist.ProcessGroup | None = None) -> None:
        """
        Args:
            process_group: the data ranks that are counted over.
        """
        self.device_mesh = device_mesh
        self.process_group = process_group
        self._correct: Tensor | int = 0
        self._total: Tensor | int = 0

    def accumulate(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Compares ``outputs['predictions']`` with ``inputs['labels']``."""
        labels = inputs["labels"]
        counted = labels != -100
        if "completion_mask" in inputs:
            counted = counted & inputs["completion_mask"].bool()
        self._correct = self._correct + ((outputs["predictions"] == labels) & counted).sum()
        self._total = self._total + counted.sum()

    def calculate(self) -> dict[str, Any]:
        """``accuracy`` as a ratio with two decimals, ``correct_tokens``, ``total_tokens``."""
        if isinstance(self._total, int):
            return {}
        correct, total = (int(v) for v in sum_over_ranks([self._correct, self._total], self.process_group))
        ratio = correct / max(total, 1)
        return {"accuracy": MetricValue(ratio, f"{ratio:.2f}"), "correct_tokens": correct, "total_tokens": total}

    def reset(self) -> None:
        """Forgets everything."""
        self._correct = 0
        self._total = 0
