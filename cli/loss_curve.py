"""The loss over the steps of a run, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def draw_loss_curve(points: Sequence[tuple[int, float]], path: Path, title: str) -> None:
    """Writes a PNG of ``(step, loss)`` pairs to ``path``; the same points give the same bytes."""
    from matplotlib.figure import Figure  # not pyplot: nothing global, no display

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([step for step, _ in points], [loss for _, loss in points], linewidth=1.5)
    axes.set(xlabel="optimizer step", ylabel="loss (nats per trained token)", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, metadata={"Software": None})
