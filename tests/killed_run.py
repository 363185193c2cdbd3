"""A training run in a process of its own that says where it is, so that it can be killed there, and goes on from its last checkpoint."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

Phase = Literal["load", "step", "save", "between"]
PHASES: tuple[Phase, ...] = ("load", "step", "save", "between")
NUM_BATCHES, SAVE_EVERY = 12, 2


@dataclass(frozen=True)
class Setup:
    """One way to train."""

    kind: Literal["lora", "full"] = "lora"
    accumulation: int = 1
    packing: bool = False


SETUPS = {
    "lora": Setup(),
    "full": Setup(kind="full"),
    "accumulation": Setup(accumulation=3),
    "packing": Setup(packing=True),
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


def run(setup: Setup, model_folder: Path, output_dir: Path, connection: Connection, phase_file: Path) -> None:
    """Trains from the last checkpoint in ``output_dir``, or from the start, to the last batch."""
    import numpy as np
    import torch
    from tiny_training import batches, make_trainee, packed
    from transformers.utils import logging

    from twinkle.plugins_builtin.model.transformers._checkpoint import numbered_checkpoints, prune_checkpoints

    torch.set_num_threads(1)
    logging.disable_progress_bar()  # its lock is a semaphore, which a killed process leaves behind
    reporter = Reporter(connection, phase_file)
    with reporter.during("load"):
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(1)
        dropout = 0.2 if setup.kind == "lora" else 0.0
        num_steps = NUM_BATCHES // setup.accumulation
        model = make_trainee(model_folder, setup.kind, accumulation=setup.accumulation, dropout=dropout, num_steps=num_steps)
        found = numbered_checkpoints(output_dir)
        first = model.resume_from_checkpoint(found[-1])["consumed_train_samples"] if found else 0
    data: list[Any] = batches(NUM_BATCHES)
    for number in range(first, NUM_BATCHES):
        # Python's generator chooses, so that it has to go on where it was too.
        samples = random.sample(data[number], k=len(data[number]))
        with reporter.during("step"):
            model.forward_backward(inputs=[packed(samples)] if setup.packing else samples, gradient_accumulation_steps=setup.accumulation)
            model.clip_grad_and_step()
        if (number + 1) % SAVE_EVERY == 0:
            with reporter.during("save"):
                path = model.save(output_dir=output_dir, save_optimizer=True, consumed_train_samples=number + 1)
                assert path is not None
                prune_checkpoints(Path(path), "default" if setup.kind == "lora" else "", limit=2)
