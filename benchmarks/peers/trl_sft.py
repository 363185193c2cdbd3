"""TRL's SFTTrainer on the batches of ``benchmarks/sft_workload.py``; its own training loop, halted between units of steps."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoTokenizer, Qwen3ForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

from benchmarks.peers.loop import serve
from benchmarks.sft_workload import LEARNING_RATE, MAX_GRAD_NORM, Row, read_batches

MANY_STEPS = 2_000
"""In an epoch: a new epoch makes a new loader, which is not what is timed."""


class _Gate(TrainerCallback):  # type: ignore[misc]
    """Lets the trainer make as many steps as it is told, and says when they are made."""

    def __init__(self) -> None:
        self._allowed = threading.Semaphore(0)
        self._made = threading.Semaphore(0)
        self.error: BaseException | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._allowed.acquire()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._made.release()

    def run(self, trainer: Any) -> None:
        """Trains until the process ends."""
        try:
            trainer.train()
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            self.error = error
            self._made.release()

    def make(self, num_steps: int) -> None:
        """Has ``num_steps`` steps made."""
        self._allowed.release(num_steps)
        for _ in range(num_steps):
            self._made.acquire()
            if self.error is not None:
                raise self.error


class _Recording(SFTTrainer):  # type: ignore[misc]
    """Keeps each loss where it lies."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.losses: list[torch.Tensor] = []

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.detach())
        return loss


class _Run:
    def __init__(self) -> None:
        self.gate = _Gate()
        self.trainer: Any = None
        self.num_steps = 0

    def setup(self, folder: str, autocast: bool, num_steps: int, **options: Any) -> None:
        """A trainer with TRL's defaults but for ``options``, and what every side shares: data order, learning rate, clipping, no decay."""
        where = Path(folder)
        base = Qwen3ForCausalLM.from_pretrained(where / "model", dtype=torch.float32)
        batches = read_batches(where)
        self.trainer = _Recording(
            model=PeftModel.from_pretrained(base, str(where / "adapter"), is_trainable=True),
            args=SFTConfig(
                output_dir=str(where / "trl"),
                per_device_train_batch_size=len(batches[0]),
                max_steps=10 * MANY_STEPS,
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=MAX_GRAD_NORM,
                bf16=autocast,
                train_sampling_strategy="sequential",
                dataset_kwargs={"skip_prepare_dataset": True},
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                **options,
            ),
            train_dataset=Dataset.from_list([_labelled(row) for batch in batches for row in batch] * (MANY_STEPS // len(batches))),
            processing_class=AutoTokenizer.from_pretrained(where / "model"),
            callbacks=[self.gate],
        )
        self.num_steps = num_steps
        threading.Thread(target=self.gate.run, args=(self.trainer,), daemon=True).start()

    def first_losses(self, num_steps: int) -> list[float]:
        """The losses of the first steps."""
        self.gate.make(num_steps)
        return [float(loss) for loss in self.trainer.losses[:num_steps]]

    def step(self) -> None:
        """A unit of steps."""
        self.gate.make(self.num_steps)


def _labelled(row: Row) -> dict[str, Any]:
    """With labels that are not shifted, as transformers expects them."""
    return {"input_ids": row.input_ids, "labels": [-100] * row.num_prompt + row.input_ids[row.num_prompt :]}


run = _Run()
serve({"setup": run.setup, "first_losses": run.first_losses, "step": run.step})
