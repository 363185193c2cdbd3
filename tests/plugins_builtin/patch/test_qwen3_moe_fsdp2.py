"""Two gloo ranks, FSDP2, a tiny Qwen3-MoE of transformers 4: wrong or aborted without the patch, equal to one process with it."""

from __future__ import annotations

import pytest
from moe_ranks import needs_transformers_4, two_ranks
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from twinkle.patch import apply_patch

# One float32 step: sums in another order differ by some units of the last place of numbers below 1.
EQUAL = 1e-6
SEEN_WRONG = 1e-5


@needs_transformers_4
@pytest.mark.slow
def test_without_the_patch_the_run_aborts_or_is_silently_wrong() -> None:
    assert two_ranks("unequal") is None, "unequal numbers of experts must not reduce together"
    wrong = two_ranks("equal")
    assert wrong is None or wrong["weights"] > SEEN_WRONG


@needs_transformers_4
@pytest.mark.slow
@pytest.mark.parametrize("case", ["equal", "unequal"])
def test_with_the_patch_two_ranks_equal_one_process(case: str) -> None:
    seen = two_ranks(case, "qwen3_moe_fsdp2")
    assert seen is not None
    assert seen["loss"] < EQUAL and seen["weights"] < EQUAL, seen


@pytest.mark.slow
def test_transformers_5_needs_no_patch() -> None:
    seen = two_ranks("unequal", overlay=None)
    assert seen is not None
    assert seen["loss"] < EQUAL and seen["weights"] < EQUAL, seen


def test_it_says_why_it_is_not_needed_and_changes_nothing() -> None:
    model = Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=32,
            hidden_size=8,
            moe_intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            num_experts=2,
        )
    )
    handle = apply_patch("qwen3_moe_fsdp2", model)
    assert not handle.is_applied
    assert handle.reason is not None and "transformers 5" in handle.reason
    assert "forward" not in vars(model.model.layers[0].mlp)
