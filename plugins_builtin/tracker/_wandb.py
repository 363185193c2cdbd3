"""Metrics for Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from twinkle.core.contracts.tracker import Tracker
from twinkle.core.hookspecs import hookimpl
from twinkle.core.requirement import requires
from twinkle.plugins_builtin.tracker._number import numbers


class WandbTracker(Tracker):
    """One W&B run for the training run; who is logged in, and where, is W&B's own setup."""

    def __init__(self, project: str = "twinkle", name: str | None = None, mode: Literal["online", "offline"] | None = None) -> None:
        """
        Args:
            project: where the run is listed.
            name: of the run; W&B makes one up without.
            mode: "offline" keeps everything in the folder of the run, for ``wandb sync``; None is what W&B is set to.
        """
        requires("wandb")
        self.project = project
        self.name = name
        self.mode = mode
        self._run: Any = None

    @hookimpl
    def twinkle_run_started(self, run: str, config: Mapping[str, object]) -> None:
        """Starts the W&B run with the configuration."""
        import wandb

        self._run = wandb.init(project=self.project, name=self.name, mode=self.mode, dir=run, config=dict(config))

    @hookimpl
    def twinkle_step_ended(self, run: str, step: int, metrics: Mapping[str, object]) -> None:
        """One point for each number."""
        if self._run is not None:
            # As a metric of its own: W&B refuses steps that go back, and an evaluation comes after its training step.
            self._run.log({"step": step, **numbers(metrics)})

    @hookimpl
    def twinkle_run_ended(self, run: str, status: str) -> None:
        """Ends the W&B run."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "finished" else 1)
            self._run = None
