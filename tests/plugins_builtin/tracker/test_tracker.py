"""Trackers hear one run and keep its metrics; the real packages read them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import twinkle
from twinkle.core.hookspecs import hookimpl
from twinkle.core.runtime.context import ProcessContext

METRICS: tuple[Mapping[str, Any], ...] = ({"loss": 2.5, "learning rate": 1e-4, "note": "text"}, {"loss": 1.25, "learning rate": 5e-5})


def drive(context: ProcessContext, folder: Path, trackers: list[Any]) -> None:
    """A run of two logged steps."""
    with twinkle.run(folder, config={"lr": 1e-4}, trackers=trackers):
        for step, metrics in enumerate(METRICS, start=1):
            context.registry.tell("twinkle_step_ended", run=str(folder), step=step, metrics=metrics)


def test_jsonl_keeps_every_event_as_a_line(context: ProcessContext, tmp_path: Path) -> None:
    drive(context, tmp_path / "run", ["jsonl"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["started", "step", "step", "ended"]
    assert lines[0]["config"] == {"lr": 1e-4}
    assert [(line["step"], line["loss"]) for line in lines[1:3]] == [(1, 2.5), (2, 1.25)]
    assert lines[3]["status"] == "finished"


@pytest.mark.slow
def test_tensorboard_reads_the_points_back(context: ProcessContext, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    drive(context, tmp_path / "run", ["tensorboard"])
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 2.5), (2, 1.25)]
    assert "learning_rate" in events.Tags()["scalars"] and "note" not in events.Tags()["scalars"]


@pytest.mark.slow
def test_wandb_keeps_the_points_offline(context: ProcessContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    drive(context, tmp_path / "run", [("wandb", {"mode": "offline"})])
    (file,) = (tmp_path / "run").rglob("*.wandb")
    written = file.read_bytes()
    assert b"loss" in written and b"2.5" in written and b"1.25" in written


@pytest.mark.slow
def test_swanlab_keeps_the_points_offline(context: ProcessContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    drive(context, tmp_path / "run", [("swanlab", {"mode": "offline"})])
    written = b"".join(path.read_bytes() for path in (tmp_path / "run" / "swanlab").rglob("*") if path.is_file())
    assert b"loss" in written


class Listener:
    """Hears runs; told twice, it would count twice."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def twinkle_run_started(self, run: str) -> None:
        self.heard.append("started")

    @hookimpl
    def twinkle_step_ended(self, step: int) -> None:
        self.heard.append(f"step {step}")

    @hookimpl
    def twinkle_run_ended(self, status: str) -> None:
        self.heard.append(status)


def test_a_tracker_hears_its_own_run_alone(context: ProcessContext, tmp_path: Path) -> None:
    first, second = Listener(), Listener()
    drive(context, tmp_path / "a", [first])
    drive(context, tmp_path / "b", [second])
    assert first.heard == second.heard == ["started", "step 1", "step 2", "finished"]


@pytest.mark.parametrize(("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_raises_says_how_it_ended(tmp_path: Path, error: type[BaseException], status: str) -> None:
    listener = Listener()
    with pytest.raises(error), twinkle.run(tmp_path, trackers=[listener]):
        raise error
    assert listener.heard == ["started", status]
    with twinkle.run(tmp_path, trackers=[]):
        pass


def test_a_run_inside_a_run_and_an_unknown_tracker_are_errors(tmp_path: Path) -> None:
    with twinkle.run(tmp_path / "a", trackers=[]), pytest.raises(TypeError, match="goes on"), twinkle.run(tmp_path / "b"):
        pass
    with pytest.raises(LookupError, match=r"tensorboard"), twinkle.run(tmp_path / "c", trackers=["tensorbord"]):
        pass
