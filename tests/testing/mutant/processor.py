"""A batch processor, and wrong ones."""

from __future__ import annotations

from typing import Any

import torch

from twinkle.testing import Example

PADDING = {"input_ids": 0, "labels": -100, "position_ids": -1, "attention_mask": 0}


class GoodProcessor:
    """Right padding."""

    padding = PADDING

    def __call__(self, inputs: Any) -> Any:
        width = max(len(one["input_ids"]) for one in inputs)
        return {name: torch.tensor([self.pad(one[name], width, fill) for one in inputs]) for name, fill in self.padding.items()}

    def pad(self, values: Any, width: int, fill: int) -> list[int]:
        return [*values, *[fill] * (width - len(values))]


class Reverses(GoodProcessor):
    def __call__(self, inputs: Any) -> Any:
        return super().__call__(inputs[::-1])


class TrainsPadding(GoodProcessor):
    padding = {**PADDING, "labels": 0}  # noqa: RUF012


class Squeezes(GoodProcessor):
    def __call__(self, inputs: Any) -> Any:
        return {name: values.squeeze(0) for name, values in super().__call__(inputs).items()}


class Pops(GoodProcessor):
    def __call__(self, inputs: Any) -> Any:
        for one in inputs:
            one.pop("length")
        return super().__call__(inputs)


GOOD = (GoodProcessor, Example())
MUTANTS = {
    "keeps_every_token": (Reverses, Example()),
    "trains_no_padding": (TrainsPadding, Example()),
    "takes_a_single_sample": (Squeezes, Example()),
    "leaves_the_samples": (Pops, Example()),
}
