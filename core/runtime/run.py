"""``twinkle.run``: a training run from its first to its last step, and the trackers that are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twinkle.core.components import build_resolved, resolve
from twinkle.core.errors import InvalidArgument
from twinkle.core.runtime.context import current

Status = Literal["finished", "interrupted", "failed"]


@dataclass(kw_only=True, slots=True)
class Run:
    """A run that goes on."""

    output_dir: Path
    status: Status = "finished"
    """What plugins are told when the block ends without an exception; a loop that stops early sets "interrupted"."""


@contextmanager
def run(output_dir: str | Path, config: Mapping[str, object] | None = None, trackers: Sequence[object] = ("jsonl",)) -> Iterator[Run]:
    """Inside the block metrics belong to the run in ``output_dir``: ``model.calculate_metric()`` tells every plugin, and ``trackers``.

    >>> with twinkle.run("output/sft", config={"lr": 1e-4}, trackers=["jsonl", "tensorboard"]):
    ...     for batch in dataloader:
    ...         model.forward_backward(inputs=batch)
    ...         model.clip_grad_and_step()
    ...         model.calculate_metric()

    Args:
        output_dir: is made if it is not there.
        config: what the run was asked to do, in plain values.
        trackers: names, hub ids, classes or instances, or ``(name, init arguments)``, which hear of this run alone.

    Raises:
        InvalidArgument: a run goes on in this process already.
        LookupError: no tracker has this name.
    """
    context = current()
    if context.run is not None:
        raise InvalidArgument(f"the run in {context.run} goes on: end it before the next one begins")
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    registry = context.registry
    told = [(f"tracker {number} of {folder}", _built(tracker)) for number, tracker in enumerate(trackers)]
    for name, tracker in told:
        registry.register(tracker, name)
    this = Run(output_dir=folder)
    context.run = str(folder)
    try:
        registry.tell("twinkle_run_started", run=str(folder), config=dict(config or {}))
        yield this
    except BaseException as error:
        this.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        context.run = None
        registry.tell("twinkle_run_ended", run=str(folder), status=this.status)
        for name, _ in told:
            registry.unregister(name)


def _built(tracker: object) -> Any:
    ref, init = tracker if isinstance(tracker, tuple) else (tracker, {})
    return build_resolved(resolve("tracker", ref), dict(init))
