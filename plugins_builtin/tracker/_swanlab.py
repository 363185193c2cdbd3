"""Metrics for SwanLab."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from twinkle.core.contracts.tracker import Tracker
from twinkle.core.hookspecs import hookimpl
from twinkle.core.requirement import requires
from twinkle.plugins_builtin.tracker._number import numbers


class SwanLabTracker(Tracker):
    """One SwanLab experiment for the training run; who is logged in, and where, is SwanLab's own setup."""

    def __init__(
        self, project: str = "twinkle", name: str | None = None, mode: Literal["cloud", "local", "offline", "disabled"] | None = None
    ) -> None:
        """
        Args:
            project: where the experiment is listed.
            name: of the experiment; SwanLab makes one up without.
            mode: "offline" and "local" keep everything in the folder of the run; None is what SwanLab is set to.
        """
        requires("swanlab")
        self.project = project
        self.name = name
        self.mode = mode
        self._run: Any = None

    @hookimpl
    def twinkle_run_started(self, run: str, config: Mapping[str, object]) -> None:
        """Starts the experiment with the configuration."""
        import swanlab

        folder = str(Path(run) / "swanlab")
        self._run = swanlab.init(project=self.project, experiment_name=self.name, mode=self.mode, logdir=folder, config=dict(config))

    @hookimpl
    def twinkle_step_ended(self, run: str, step: int, metrics: Mapping[str, object]) -> None:
        """One point for each number."""
        if self._run is not None:
            self._run.log(numbers(metrics), step=step)

    @hookimpl
    def twinkle_run_ended(self, run: str, status: str) -> None:
        """Ends the experiment."""
        if self._run is not None:
            self._run.finish(state="success" if status == "finished" else "crashed")
            self._run = None
