"""The loop of a supervised fine-tuning run: steps, evaluation, checkpoints, and what is told of them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from twinkle.cli.interrupt import StopWish
from twinkle.cli.sft_config import SFTConfig
from twinkle.cli.sft_parts import Parts
from twinkle.core.errors import InvalidConfig
from twinkle.core.runtime.run import run

METRIC_LOG = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """What is known after an optimizer step."""

    step: int
    """Optimizer steps so far."""
    loss: float
    """Mean over the steps since the last report."""
    metrics: Mapping[str, Any]
    """Everything that the model's metrics calculated."""
    tokens_per_s: float
    """Tokens read, trained or not, per second since this process began to train."""
    elapsed_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """How a run ended."""

    status: Literal["finished", "interrupted"]
    step: int
    checkpoint: Path
    reports: tuple[StepReport, ...]


class Observer(Protocol):
    """Is shown a run while it goes on."""

    def show_step(self, report: StepReport) -> None:
        """After each logged step."""

    def show_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """After each evaluation."""


def train(parts: Parts, observer: Observer, wish: StopWish, resume: Path | None = None) -> RunResult:
    """Trains until the last step, or until ``wish`` is made; saves a checkpoint either way.

    Metrics go to ``metrics.jsonl`` in the output folder, to ``observer``, and from the model to plugins.

    Args:
        resume: a checkpoint of the same run to go on from, to the bit.

    Raises:
        InvalidConfig: the checkpoint is of a run with other accumulation, or is past the last step.
    """
    config = parts.config
    first_batch = 0 if resume is None else _resume(parts, resume)
    trackers = [(tracker.use, tracker.arguments) for tracker in config.trackers]
    with run(config.output_dir, plain_config(config), trackers) as this:
        with (config.output_dir / METRIC_LOG).open("w" if resume is None else "a", encoding="utf-8") as log:
            result = _loop(parts, observer, wish, log, first_batch)
        this.status = result.status
    return result


def _resume(parts: Parts, checkpoint: Path) -> int:
    """Puts model and data where ``checkpoint`` left them; returns the number of batches that it has seen."""
    config = parts.config
    state = parts.model.resume_from_checkpoint(checkpoint)
    accumulation = state["gradient_accumulation_steps"]
    if accumulation != config.gradient_accumulation_steps:
        raise InvalidConfig(f"{checkpoint} accumulates {accumulation} batches, this run {config.gradient_accumulation_steps}")
    num_batches: int = state["cur_step"]
    if num_batches // accumulation >= parts.num_steps:
        raise InvalidConfig(f"{checkpoint} is after step {num_batches // accumulation}, and this run ends with step {parts.num_steps}")
    parts.dataloader.resume_from_checkpoint(state["consumed_train_samples"])
    return num_batches


def _loop(parts: Parts, observer: Observer, wish: StopWish, log: IO[str], first_batch: int) -> RunResult:
    config, model = parts.config, parts.model
    accumulation = config.gradient_accumulation_steps
    reports: list[StepReport] = []
    num_tokens = 0
    started_s = time.monotonic()
    for number, batch in enumerate(_epochs(parts.dataloader), start=first_batch + 1):
        model.forward_backward(inputs=batch, micro_batch_size=config.micro_batch_size, gradient_accumulation_steps=accumulation)
        model.clip_grad_and_step(max_grad_norm=config.max_grad_norm)
        num_tokens += sum(len(row["input_ids"]) for row in batch)
        step, rest = divmod(number, accumulation)
        if rest:
            continue
        is_last = step == parts.num_steps or wish.is_made
        if step % config.logging_steps == 0 or is_last:
            elapsed_s = time.monotonic() - started_s
            metrics = model.calculate_metric(is_training=True)
            speed = num_tokens / elapsed_s
            reports.append(StepReport(step=step, loss=float(metrics["loss"]), metrics=metrics, tokens_per_s=speed, elapsed_s=elapsed_s))
            _write(log, {"step": step, **metrics, "tokens_per_s": speed, "elapsed_s": elapsed_s})
            observer.show_step(reports[-1])
        if parts.eval_dataloader is not None and (step == parts.num_steps or _is_due(step, config.eval_steps)):
            metrics = _evaluate(parts, parts.eval_dataloader)
            _write(log, {"step": step, "evaluation": metrics})
            observer.show_evaluation(step, metrics)
        if is_last:
            break
        if _is_due(step, config.save_steps):
            _save(parts, step)
    return RunResult(
        status="finished" if step == parts.num_steps else "interrupted", step=step, checkpoint=_save(parts, step), reports=tuple(reports)
    )


def _epochs(dataloader: Any) -> Iterator[Any]:
    while True:
        yield from dataloader


def _is_due(step: int, interval: int | None) -> bool:
    return interval is not None and step % interval == 0


def _evaluate(parts: Parts, dataloader: Any) -> Mapping[str, Any]:
    for batch in dataloader:
        parts.model.forward_only(inputs=batch, micro_batch_size=parts.config.micro_batch_size)
    metrics: Mapping[str, Any] = parts.model.calculate_metric(is_training=False)
    return metrics


def _save(parts: Parts, step: int) -> Path:
    consumed = parts.dataloader.get_state()["consumed_train_samples"]
    path = parts.model.save(
        f"checkpoint-{step}",
        output_dir=parts.config.output_dir,
        save_optimizer=True,
        consumed_train_samples=consumed,
        save_total_limit=parts.config.save_total_limit,
    )
    return Path(path)


def _write(log: IO[str], record: Mapping[str, Any]) -> None:
    log.write(json.dumps(record) + "\n")
    log.flush()


def plain_config(config: SFTConfig) -> dict[str, Any]:
    """``config`` in plain values, as a file would have it."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return values
