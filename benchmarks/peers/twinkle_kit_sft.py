"""twinkle-kit's TransformersModel on the batches of ``benchmarks/sft_workload.py``, called as its cookbook does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.loop import serve
from benchmarks.sft_workload import LEARNING_RATE, MAX_GRAD_NORM, Row, read_batches
from twinkle.model import TransformersModel
from twinkle.utils.platforms.gpu import GPU  # type: ignore[import-not-found]

# It knows no CPU and calls it "cuda:0".
GPU.get_local_device = staticmethod(lambda idx, **_: "cpu")
GPU.device_prefix = staticmethod(lambda: "cpu")


class _Run:
    def __init__(self) -> None:
        self.model: Any = None
        self.batches: list[list[Row]] = []
        self.features: Iterator[list[dict[str, Any]]] = iter(())
        self.num_steps = 0

    def setup(self, folder: str, autocast: bool, num_steps: int, padding_free: bool = False) -> None:
        """Model, adapter and optimizer, and features as its template gives them; rows are concatenated where it is told so."""
        where = Path(folder)
        self.model = TransformersModel(model_id=str(where / "model"), mixed_precision="bf16" if autocast else "no", dtype=torch.float32)
        self.model.add_adapter_to_model("default", str(where / "adapter"))
        self.model.set_optimizer("AdamW", lr=LEARNING_RATE, weight_decay=0.0)
        if padding_free:
            self.model.set_processor("InputProcessor", padding_free=True)
        self.batches = read_batches(where)
        self.features = cycle([[_feature(row) for row in batch] for batch in self.batches])
        self.num_steps = num_steps

    def first_losses(self, num_steps: int) -> list[float]:
        """The losses of the first steps."""
        return [self._train() / sum(row.num_labels for row in batch) for batch in islice(cycle(self.batches), num_steps)]

    def step(self) -> None:
        """A unit of steps."""
        for _ in range(self.num_steps):
            self._train()

    def _train(self) -> float:
        """One step on the next batch; returns the sum of its loss."""
        outputs = self.model.forward_backward(inputs=[dict(feature) for feature in next(self.features)])  # it changes what it is given
        self.model.clip_grad_and_step(MAX_GRAD_NORM)
        return float(outputs["loss"])


def _feature(row: Row) -> dict[str, Any]:
    length = len(row.input_ids)
    return {
        "input_ids": row.input_ids,
        "attention_mask": [1] * length,
        "position_ids": list(range(length)),
        "labels": row.shifted_labels,
    }


run = _Run()
serve({"setup": run.setup, "first_losses": run.first_losses, "step": run.step})
