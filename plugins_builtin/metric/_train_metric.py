"""Learning rate, steps and speed of training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from twinkle.core.contracts.metric import Metric
from twinkle.plugins_builtin.metric._value import MetricValue

if TYPE_CHECKING:
    import torch.distributed as dist

    from twinkle.core.mesh import DeviceMesh


class TrainMetric(Metric):
    """``learning rate`` (per group if they differ), ``iters`` (optimizer steps), ``total time elapse``; ``speed`` since the last reset."""

    require_logps: ClassVar[bool] = False

    def __init__(self, device_mesh: DeviceMesh | None = None, process_group: dist.ProcessGroup | None = None) -> None:
        """Starts the clock; every rank measures its own time."""
        self.device_mesh = device_mesh
        self.process_group = process_group
        self._started_s = time.monotonic()
        self._reset_s = self._started_s
        self._first_step: int | None = None
        self._step: int | None = None
        self._lr: Sequence[float] | float | None = None

    def accumulate(
        self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], *, lr: Sequence[float] | float | None = None, step: int | None = None
    ) -> None:
        """Takes the learning rates and the number of optimizer steps so far."""
        self._lr = lr
        if step is not None:
            if self._first_step is None:
                self._first_step = step
            self._step = step

    def calculate(self) -> dict[str, Any]:
        """The values at the last step that was seen."""
        elapsed_s = time.monotonic() - self._started_s
        values: dict[str, Any] = {}
        given = [] if self._lr is None else self._lr if isinstance(self._lr, Sequence) else [self._lr]
        rates = [float(rate) for rate in given]
        if len(set(rates)) == 1:
            values["learning rate"] = MetricValue(rates[0], f"{rates[0]:.6e}")
        else:
            values.update({f"learning rate(param group {i})": MetricValue(rate, f"{rate:.6e}") for i, rate in enumerate(rates)})
        if self._step is not None:
            values["iters"] = self._step
            text = f"{elapsed_s:.0f} seconds" if elapsed_s < 60 else f"{elapsed_s / 60:.1f} minutes"
            values["total time elapse"] = MetricValue(elapsed_s, text)
            steps = self._step - (self._first_step or 0) + 1
            speed = steps / max(time.monotonic() - self._reset_s, 1e-9)
            values["speed"] = MetricValue(speed, f"{speed:.2f} iters/s")
        return values

    def reset(self) -> None:
        """Forgets the values, and what speed is measured from; the clock of the whole run goes on."""
        self._reset_s = time.monotonic()
        self._first_step = None
        self._lr = None
        self._step = None
