"""A model whose sequences would see each other in a flat batch runs on a padded view; the others do not pay for it."""

from __future__ import annotations

import pytest
import torch
from tiny_training import SMALL, sample
from transformers import (
    AfmoeConfig,
    Gemma3TextConfig,
    GptOssConfig,
    GraniteMoeHybridConfig,
    Lfm2Config,
    Llama4TextConfig,
    NemotronConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from twinkle.model import TransformersModel
from twinkle.plugins_builtin.model.transformers._attention_choice import attention_of

HYBRID = {"mamba_n_heads": 8, "mamba_d_head": 8, "shared_intermediate_size": 32, "num_local_experts": 0}
OPT = {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
CASES: dict[str, tuple[PretrainedConfig, str | None, str]] = {
    "qwen3": (Qwen3Config(**SMALL, head_dim=8), None, "varlen"),
    "qwen3, eager": (Qwen3Config(**SMALL, head_dim=8), "eager", "packed"),
    "experts, which round by how many tokens they get": (
        Qwen3MoeConfig(**{**SMALL, "hidden_size": 64}, head_dim=16, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32),
        None,
        "varlen",
    ),
    "nemotron, whose attention gets no keywords": (NemotronConfig(**SMALL), None, "packed"),
    "afmoe, which wants its attention contiguous": (
        AfmoeConfig(**SMALL, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, num_dense_layers=1),
        None,
        "varlen",
    ),
    "gemma3, looking ahead": (Gemma3TextConfig(**SMALL, head_dim=8, use_bidirectional_attention=True), None, "packed"),
    "gpt-oss, whose mask knows no positions": (
        GptOssConfig(**SMALL, head_dim=8, num_local_experts=4, num_experts_per_tok=2),
        None,
        "padded",
    ),
    "opt, eager, which makes up a mask": (
        OPTConfig(vocab_size=700, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, **OPT),
        "eager",
        "padded",
    ),
    "lfm2, with convolutions": (
        Lfm2Config(**SMALL, layer_types=["conv", "full_attention"], block_ff_dim=48, block_auto_adjust_ff_dim=False),
        None,
        "padded",
    ),
    "granite, with a state": (GraniteMoeHybridConfig(**SMALL, layer_types=["mamba", "attention"], **HYBRID), None, "padded"),
    "llama4, with chunks of 16": (
        Llama4TextConfig(**SMALL, head_dim=8, intermediate_size_mlp=48, num_local_experts=2, attention_chunk_size=16),
        None,
        "padded",
    ),
}


def make(config: PretrainedConfig, attn_implementation: str | None) -> TransformersModel:
    """With weights large enough to show what a sequence sees."""
    torch.manual_seed(0)
    chosen = {} if attn_implementation is None else {"attn_implementation": attn_implementation}
    model = TransformersModel(config=config, mixed_precision="no", **chosen)
    with torch.no_grad():
        for parameter in model.model.parameters():
            if parameter.dim() > 1:
                parameter.add_(0.15 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", CASES)
def test_a_sequence_is_alone_in_any_company(name: str) -> None:
    config, attn_implementation, way = CASES[name]
    model = make(config, attn_implementation)
    assert model._passes._attention == way
    one = sample(23, 1)
    labels = torch.tensor(one["labels"])
    with torch.no_grad():
        logits_TV = model.model.eval()(input_ids=torch.tensor([one["input_ids"]]), use_cache=False).logits[0]
    expected = torch.log_softmax(logits_TV, dim=-1).gather(-1, labels.clamp(min=0)[:, None])[:, 0] * (labels >= 0)
    behind = model.forward_only(inputs=[sample(9, 0), one])["logps"][1, :23]
    assert torch.allclose(behind, expected, atol=2e-5)  # float32: 1e-6 of a logit of ten


def test_sequences_that_see_little_of_each_other_are_kept_apart() -> None:
    """As before training, where what attention adds is small."""
    config, attn_implementation, _ = CASES["opt, eager, which makes up a mask"]
    model = make(config, attn_implementation).model
    with torch.no_grad():
        for layer in model.model.decoder.layers:
            layer.self_attn.out_proj.weight.mul_(1e-5)
    assert attention_of(model) == "padded"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rounding_is_not_taken_for_sequences_that_see_each_other(dtype: torch.dtype) -> None:
    config = Qwen3MoeConfig(**{**SMALL, "dtype": dtype}, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
    assert TransformersModel(config=config, mixed_precision="no")._passes._attention == "varlen"
