"""What ``twinkle train`` reads: one supervised fine-tuning run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from twinkle.cli.config_file import Use
from twinkle.core.errors import InvalidConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetConfig:
    """One data set."""

    id: str
    """A local file (jsonl, json, csv, txt, parquet), or a hub id such as ``ms://owner/name``."""
    subset: str = "default"
    """The subset of a hub's data set."""
    split: str = "train"
    """The split of a hub's data set."""
    num_rows: int | None = None
    """Take this many rows from the beginning, and over again where there are fewer; unset means all, once."""
    preprocessor: Use | None = None
    """Turns a row into messages; unset where the rows have a ``messages`` column already."""
    check: bool = False
    """Drop rows that cannot be encoded and say how many, where otherwise the first of them ends the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraTable:
    """Low-rank adapters (PEFT)."""

    r: int = 8
    """Rank."""
    alpha: int = 32
    """The update is scaled by ``alpha / r``."""
    dropout: float = 0.0
    """Probability to drop an input of the adapter."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Names of the layers that get an adapter, or ``all-linear``."""

    def __post_init__(self) -> None:
        if self.r < 1:
            raise InvalidConfig(f"r: expected 1 or more, got {self.r}")
        if not 0 <= self.dropout < 1:
            raise InvalidConfig(f"dropout: expected 0 or more and less than 1, got {self.dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SFTConfig:
    """One supervised fine-tuning run. Paths are relative to the folder in which the command runs."""

    model: str
    """Folder or hub id of the model."""
    dataset: tuple[DatasetConfig, ...]
    """What to train on (``[dataset]``); of several (``[[dataset]]``) rows are taken in turns until the shortest ends."""
    eval_dataset: tuple[DatasetConfig, ...] = ()
    """What to evaluate on, every ``eval_steps`` and at the end."""
    output_dir: Path = Path("output/sft")
    """Where checkpoints, ``metrics.jsonl`` and the loss curve go."""

    backend: Use = field(default_factory=lambda: Use(use="transformers"))
    """The model component that loads and trains it, and further arguments of it."""
    template: Use = field(default_factory=lambda: Use(use="Template"))
    """Turns messages into tokens; ``model_id`` is this run's model unless given."""
    packing: bool = False
    """Join samples to sequences of up to the template's ``max_length`` tokens; they never see each other, and a row is then a sequence."""
    lora: LoraTable | None = None
    """Train adapters; without this table all parameters are trained."""
    loss: Use = field(default_factory=lambda: Use(use="CrossEntropyLoss"))
    """What is minimised."""
    metrics: tuple[Use, ...] = ()
    """Metrics beside those that the model always has."""
    patches: tuple[Use, ...] = ()
    """Patches for the model, in order, before the first step."""
    optimizer: Use = field(default_factory=lambda: Use(use="AdamW", arguments={"lr": 1e-4}))
    """The optimizer and its arguments."""
    lr_scheduler: Use | None = None
    """The learning-rate schedule; ``num_training_steps`` is filled in where it takes one. Unset: the rate is constant."""

    batch_size: int = 8
    """Rows of one forward and backward pass, over all data ranks."""
    micro_batch_size: int | None = None
    """Split each batch into parts of this many rows to save memory; the result is the same."""
    gradient_accumulation_steps: int = 1
    """Batches of one optimizer step."""
    num_epochs: int = 1
    """Passes over the data; ignored where ``max_steps`` is set."""
    max_steps: int | None = None
    """Optimizer steps, over as many passes as that takes."""
    max_grad_norm: float = 1.0
    """Gradients with a larger norm are scaled down to it."""
    shuffle: bool = True
    """A new order of the rows in each epoch, drawn from ``seed``."""
    seed: int = 42
    """Of everything that is random."""
    logging_steps: int = 1
    """Calculate and log metrics every so many optimizer steps."""
    eval_steps: int | None = None
    """Evaluate every so many optimizer steps; unset: at the end only."""
    save_steps: int | None = None
    """Save every so many optimizer steps; unset: at the end only."""
    save_total_limit: int | None = None
    """Keep so many checkpoints, the newest; unset: all of them."""
    trackers: tuple[Use, ...] = ()
    """What else is told of the run: ``tensorboard``, ``wandb``, ``swanlab``, or one of your own. ``metrics.jsonl`` is always written."""

    def __post_init__(self) -> None:
        at_least_one = ("batch_size", "gradient_accumulation_steps", "num_epochs", "logging_steps")
        for name in (*at_least_one, "micro_batch_size", "max_steps", "eval_steps", "save_steps", "save_total_limit"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InvalidConfig(f"{name}: expected 1 or more, got {number}")
        if not self.dataset:
            raise InvalidConfig("dataset: expected at least one")
