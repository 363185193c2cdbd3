"""Metrics for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twinkle.core.contracts.tracker import Tracker
from twinkle.core.hookspecs import hookimpl
from twinkle.core.requirement import requires
from twinkle.plugins_builtin.tracker._number import numbers

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardTracker(Tracker):
    """Writes event files to ``log_dir``: ``tensorboard --logdir`` shows them."""

    def __init__(self, log_dir: str | Path | None = None) -> None:
        """
        Args:
            log_dir: ``<run>/tensorboard`` without.
        """
        requires("tensorboard")
        self.log_dir = log_dir
        self._writer: SummaryWriter | None = None

    @hookimpl
    def twinkle_run_started(self, run: str, config: Mapping[str, object]) -> None:
        """Opens the event file; the configuration is its first text."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.log_dir or Path(run) / "tensorboard"))
        self._writer.add_text("config", "\n".join(f"    {k}: {v}" for k, v in config.items()))

    @hookimpl
    def twinkle_step_ended(self, run: str, step: int, metrics: Mapping[str, object]) -> None:
        """One point for each number."""
        if self._writer is not None:
            for name, value in numbers(metrics).items():
                self._writer.add_scalar(name, value, step)

    @hookimpl
    def twinkle_run_ended(self, run: str, status: str) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
