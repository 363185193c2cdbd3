"""The progress of a training run on a terminal, or as plain lines in a log."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from twinkle.cli.sft_loop import StepReport

LINES_WITHOUT_TERMINAL = 10
"""How many lines a whole run prints where no bar can be drawn."""


class TrainingProgress:
    """Shows each :class:`StepReport`: a live bar with loss, tokens per second and time left, or a line now and then."""

    def __init__(self, console: Console, num_steps: int) -> None:
        self._console = console
        self._num_steps = num_steps
        self._bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(),
            TextColumn("step {task.completed}/{task.total}"),
            _LossColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            disable=not console.is_terminal,
        )
        self._first_step: int | None = None
        self._task = self._bar.add_task("training", total=num_steps, loss=None, tokens_per_s=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def show_step(self, report: StepReport) -> None:
        """Moves the bar to ``report``."""
        self._bar.update(self._task, completed=report.step, loss=report.loss, tokens_per_s=report.tokens_per_s)
        self._first_step = report.step if self._first_step is None else self._first_step
        every = max(1, self._num_steps // LINES_WITHOUT_TERMINAL)
        if not self._console.is_terminal and (report.step % every == 0 or report.step == self._num_steps):
            done = report.step - self._first_step + 1
            left_s = report.elapsed_s / done * (self._num_steps - report.step)
            line = f"step {report.step}/{self._num_steps}  loss {report.loss:.4f}  {report.tokens_per_s:,.0f} tokens/s  {left_s:.0f} s left"
            self._console.print(line, highlight=False, soft_wrap=True)

    def show_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Prints the evaluation above the bar."""
        values = "  ".join(f"{name} {value}" for name, value in metrics.items())
        self._console.print(f"evaluation after step {step}  {values}", highlight=False, soft_wrap=True)


class _LossColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        loss = task.fields["loss"]
        return Text("loss -" if loss is None else f"loss {loss:.4f}", style="green")


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.fields["tokens_per_s"]
        return Text("" if speed is None else f"{speed:,.0f} tokens/s", style="cyan")
