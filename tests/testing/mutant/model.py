"""A model of one matrix, and wrong ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from twinkle.core.atomic_folder import atomic_folder
from twinkle.testing import ModelExample


class GoodModel:
    """The next token from the one before."""

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.randn(9, 9, generator=torch.Generator().manual_seed(1)))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.5)

    def loss(self, inputs: Any) -> Any:
        ids = torch.tensor([token for one in inputs for token in one["input_ids"]])
        labels = torch.tensor([label for one in inputs for label in one["labels"]])
        return F.cross_entropy(self.weight[ids], labels, ignore_index=-100)

    def forward_backward(self, *, inputs: Any) -> Any:
        self.loss(inputs).backward()

    def forward_only(self, *, inputs: Any) -> Any:
        with torch.no_grad():
            return {"loss": float(self.loss(inputs))}

    def clip_grad_and_step(self, max_grad_norm: float = 1.0, norm_type: float = 2.0) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

    def get_state_dict(self) -> Any:
        return {"weight": self.weight.detach()}

    def save(self, name: str | None = None, output_dir: str | None = None) -> str:
        target = Path(str(output_dir)) / str(name)
        with atomic_folder(target) as folder:
            (folder / "weight.json").write_text(json.dumps(self.saved().tolist()))
        return str(target)

    def saved(self) -> Any:
        return self.weight.detach()

    def load(self, name: str) -> None:
        with torch.no_grad():
            self.weight.copy_(torch.tensor(json.loads((Path(name) / "weight.json").read_text())))


class NeverSteps(GoodModel):
    def clip_grad_and_step(self, max_grad_norm: float = 1.0, norm_type: float = 2.0) -> None:
        self.optimizer.zero_grad()


class LookingClears(GoodModel):
    def forward_only(self, *, inputs: Any) -> Any:
        self.optimizer.zero_grad()
        return super().forward_only(inputs=inputs)


class SavesTheFirstWeights(GoodModel):
    def __init__(self) -> None:
        super().__init__()
        self.first = self.weight.detach().clone()

    def saved(self) -> Any:
        return self.first


class RemovesTheOldOne(GoodModel):
    def save(self, name: str | None = None, output_dir: str | None = None) -> str:
        shutil.rmtree(Path(str(output_dir)) / str(name), ignore_errors=True)
        return super().save(name, output_dir)


EXAMPLE = ModelExample(
    inputs=lambda: [{"input_ids": [1, 2, 3], "labels": [2, 3, -100]}, {"input_ids": [4, 5], "labels": [5, -100]}],
    prepare=lambda model: None,
)
GOOD = (GoodModel, EXAMPLE)
MUTANTS = {
    "a_step_lowers_the_loss": (NeverSteps, EXAMPLE),
    "looking_changes_nothing": (LookingClears, EXAMPLE),
    "a_checkpoint_gives_the_weights_back": (SavesTheFirstWeights, EXAMPLE),
    "a_failed_save_leaves_the_old_checkpoint": (RemovesTheOldOne, EXAMPLE),
}
