"""The contract of a tracker: a plugin object that is told of one run, and keeps or shows its metrics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol


class Tracker(Protocol):
    """Hears the run events of :mod:`twinkle.core.hookspecs`; its methods bear ``hookimpl`` and may leave out arguments."""

    @abstractmethod
    def twinkle_run_started(self, run: str, config: Mapping[str, object]) -> None:
        """The run begins: ``run`` is its output folder."""

    @abstractmethod
    def twinkle_step_ended(self, run: str, step: int, metrics: Mapping[str, object]) -> None:
        """Metrics were calculated after optimizer step ``step``; those of an evaluation are named ``eval/...``."""

    @abstractmethod
    def twinkle_run_ended(self, run: str, status: str) -> None:
        """The run is over; whatever is open is closed."""
