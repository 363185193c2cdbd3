"""A training run in a process of its own that says where it is, so that it can be killed there, and goes on from its last checkpoint."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

Phase = Literal["load", "step", "save", "between"]
PHASES: tuple[Phase, ...] = ("load", "step", "save", "between")
NUM_BATCHES, SAVE_EVERY = 12, 2
ROWS = "rows.jsonl"
"""In the model's folder: the rows of the stream, fewer than a run takes."""


@dataclass(frozen=True)
class Setup:
    """One way to train."""

    kind: Literal["lora", "full"] = "lora"
    accumulation: int = 1
    packing: bool = False
    streaming: bool = False


SETUPS = {
    "lora": Setup(),
    "full": Setup(kind="full"),
    "accumulation": Setup(accumulation=3),
    "packing": Setup(packing=True),
    "streaming": Setup(streaming=True),
}


class Reporter:
    """Tells the parent of each phase that begins, and keeps the present one in a file that outlives the process."""

    def __init__(self, connection: Connection, phase_file: Path) -> None:
        self.connection = connection
        self.file = phase_file.open("wb", buffering=0)

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        self.begin(phase)
        yield
        self.begin("between")

    def begin(self, phase: Phase) -> None:
        self.file.seek(0)
        self.file.write(phase.ljust(8).encode())
        self.connection.send(phase)


def stream(file: Path, consumed: int) -> Iterator[tuple[list[Any], int]]:
    """Batches of a shuffled stream from where it was left, epoch after epoch, each with the samples consumed after it."""
    from twinkle.dataloader import DataLoader
    from twinkle.dataset import DatasetMeta, IterableDataset

    loader = DataLoader(IterableDataset(DatasetMeta(str(file))), batch_size=2, shuffle=True, seed=4)
    loader.resume_from_checkpoint(consumed)
    while True:
        for batch in loader:
            yield batch, loader.get_state()["consumed_train_samples"]


def listed(consumed: int) -> Iterator[tuple[list[Any], int]]:
    """Batches of two samples, whose order Python's generator chooses: it has to go on where it was too."""
    from tiny_training import batches

    for number, samples in enumerate(batches(NUM_BATCHES)[consumed // 2 :], start=consumed // 2):
        yield random.sample(samples, k=2), 2 * number + 2


def run(setup: Setup, model_folder: Path, output_dir: Path, connection: Connection, phase_file: Path) -> None:
    """Trains from the last checkpoint in ``output_dir``, or from the start, to the last batch."""
    import numpy as np
    import torch
    from tiny_training import make_trainee, packed
    from tqdm import tqdm

    from twinkle.plugins_builtin.model.transformers._checkpoint import numbered_checkpoints, prune_checkpoints

    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed process would leave behind
    reporter = Reporter(connection, phase_file)
    with reporter.during("load"):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(1)
        dropout = 0.2 if setup.kind == "lora" else 0.0
        num_steps = NUM_BATCHES // setup.accumulation + 1
        model = make_trainee(model_folder, setup.kind, accumulation=setup.accumulation, dropout=dropout, num_steps=num_steps)
        found = numbered_checkpoints(output_dir)
        state = model.resume_from_checkpoint(found[-1]) if found else {"cur_step": 0, "consumed_train_samples": 0}
        consumed = state["consumed_train_samples"]
        data = stream(model_folder / ROWS, consumed) if setup.streaming else listed(consumed)
    for number in range(state["cur_step"] + 1, NUM_BATCHES + 1):
        with reporter.during("step"):
            samples, consumed = next(data)
            model.forward_backward(inputs=[packed(samples)] if setup.packing else samples, gradient_accumulation_steps=setup.accumulation)
            model.clip_grad_and_step()
        if number % SAVE_EVERY == 0:
            with reporter.during("save"):
                path = model.save(output_dir=output_dir, save_optimizer=True, consumed_train_samples=consumed)
                assert path is not None
                prune_checkpoints(Path(path), "default" if setup.kind == "lora" else "", limit=2)
