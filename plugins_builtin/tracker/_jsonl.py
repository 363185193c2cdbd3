"""Metrics as lines of JSON: what every other program can read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from twinkle.core.contracts.tracker import Tracker
from twinkle.core.hookspecs import hookimpl


class JsonlTracker(Tracker):
    """Appends one line a call to ``<run>/<file_name>``: ``event``, ``time`` (seconds since 1970), and what the event brings."""

    def __init__(self, file_name: str = "metrics.jsonl") -> None:
        """
        Args:
            file_name: in the folder of the run; a resumed run goes on in the same file.
        """
        self.file_name = file_name

    @hookimpl
    def twinkle_run_started(self, run: str, config: Mapping[str, object]) -> None:
        """A line with the configuration."""
        self._write(run, {"event": "started", "config": config})

    @hookimpl
    def twinkle_step_ended(self, run: str, step: int, metrics: Mapping[str, object]) -> None:
        """A line with the step and its metrics."""
        self._write(run, {"event": "step", "step": step, **metrics})

    @hookimpl
    def twinkle_run_ended(self, run: str, status: str) -> None:
        """A line with the status."""
        self._write(run, {"event": "ended", "status": status})

    def _write(self, run: str, record: Mapping[str, object]) -> None:
        # Opened for each line: a killed run loses nothing, and nothing stays open in between.
        with (Path(run) / self.file_name).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), **record}, ensure_ascii=False, default=str) + "\n")
