"""The check of the mixture-of-experts benchmark: transformers' two ways agree, and one token that is weighted otherwise does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, ExpertsInterface

from benchmarks.moe_step import Layer, compare


@pytest.fixture(scope="module")
def layer() -> Layer:
    return Layer.of(64, 16, torch.float32, frozen=False)


def test_two_ways_of_transformers_agree(layer: Layer) -> None:
    compare(layer.results("grouped_mm"), layer.results("eager"), "eager")


def test_one_token_that_misses_one_expert_is_found(layer: Layer) -> None:
    """The last one: not the first alone is looked at."""

    def miss_one(experts: Any, hidden_TH: Tensor, chosen_TK: Tensor, weights_TK: Tensor) -> Tensor:
        weights_TK = weights_TK.index_put((torch.tensor(63), torch.tensor(7)), torch.tensor(0.0))
        out_TH: Tensor = ALL_EXPERTS_FUNCTIONS["grouped_mm"](experts, hidden_TH, chosen_TK, weights_TK)
        return out_TH

    ExpertsInterface.register("miss_one", miss_one)
    with pytest.raises(AssertionError, match="output, miss_one"):
        compare(layer.results("grouped_mm"), layer.results("miss_one"), "miss_one")


@pytest.mark.parametrize("tensor", ["output", "hidden", "gate.weight", "experts.gate_up_proj", "experts.down_proj"])
def test_output_and_every_gradient_are_compared(layer: Layer, tensor: str) -> None:
    ours = layer.results("grouped_mm")
    with pytest.raises(AssertionError, match=f"{tensor}, peer"):
        compare(ours, {**ours, tensor: 1.001 * ours[tensor]}, "peer")
    with pytest.raises(AssertionError, match="other gradients"):
        compare(ours, {name: found for name, found in ours.items() if name != tensor}, "peer")
