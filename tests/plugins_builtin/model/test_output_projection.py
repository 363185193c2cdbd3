"""Logits are made a few at a time only where nobody looks at them, and nothing happens to them after the projection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import SMALL, lora, make_tiny, sample
from torch.nn.functional import cross_entropy
from transformers import CohereConfig, Gemma2Config, Gemma2ForCausalLM, GraniteConfig, PretrainedConfig, Qwen3Config

from twinkle.core.errors import InvalidArgument
from twinkle.model import TransformersModel


def loss_of_whole_logits(model: TransformersModel, row: dict[str, Any]) -> float:
    """By one call of the model as it is."""
    labels = torch.tensor(row["labels"])
    with torch.no_grad():
        logits = model.model.eval()(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0]
    return cross_entropy(logits[labels >= 0], labels[labels >= 0]).item()


def capped(module: torch.nn.Module, args: Any, outputs: Any) -> None:
    """A hook that changes logits in place of them."""
    outputs.logits = 0.1 * torch.tanh(outputs.logits / 0.1)


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("of", [lambda model: model, lambda model: model.get_base_model()], ids=["wrapper", "wrapped"])
def test_a_hook_on_the_model_gets_logits(folder: Path, kind: str, of: Callable[[Any], torch.nn.Module]) -> None:
    model = TransformersModel(model_id=str(folder), mixed_precision="no")
    if kind == "lora":
        torch.manual_seed(11)  # of some weights the cap changes the loss by less than can be told
        model.add_adapter_to_model("default", lora())
    row = sample(31, 3)
    free = model.forward_only(inputs=[row])["loss"]
    target = of(model.model) if kind == "lora" else model.model
    with target.register_forward_hook(capped):
        expected = loss_of_whole_logits(model, row)
        assert model.forward_only(inputs=[row])["loss"] == pytest.approx(expected, abs=1e-5)
        assert expected != pytest.approx(free, abs=1e-3)
    assert model.forward_only(inputs=[row])["loss"] == pytest.approx(free, abs=1e-6)


@pytest.mark.parametrize("register", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_a_backward_hook_on_the_projection_gets_gradients_of_logits(folder: Path, register: str) -> None:
    model = TransformersModel(model_id=str(folder), mixed_precision="no")
    widths: list[int] = []
    getattr(model.model.lm_head, register)(lambda module, *grads: widths.append(grads[-1][0].shape[-1]))
    model.forward_backward(inputs=[sample(9, 0)])
    assert widths == [model.model.config.vocab_size]


CONFIGS: dict[str, tuple[PretrainedConfig, bool]] = {
    "plain": (Qwen3Config(**SMALL, head_dim=8), True),
    "capped": (Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=30.0), False),
    "capped, in few bits": (Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=30.0, dtype=torch.bfloat16), False),
    "plain, in few bits": (Qwen3Config(**SMALL, head_dim=8, dtype=torch.bfloat16), True),
    "divided": (GraniteConfig(**SMALL, logits_scaling=8.0), False),
    "scaled": (CohereConfig(**SMALL, logit_scale=0.25), False),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_happens_after_the_projection_is_seen(name: str) -> None:
    config, is_separable = CONFIGS[name]
    model = TransformersModel(config=config, mixed_precision="no", attn_implementation="eager")
    assert (model._passes._projection is not None) is is_separable


def test_a_cap_is_seen_though_all_logits_are_zero_at_first(tmp_path: Path) -> None:
    config = Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=5.0, tie_word_embeddings=False)
    zero = Gemma2ForCausalLM(config)
    torch.nn.init.zeros_(zero.lm_head.weight)
    zero.save_pretrained(tmp_path)
    model = TransformersModel(model_id=str(tmp_path), mixed_precision="no", attn_implementation="eager")
    with torch.no_grad():
        model.model.lm_head.weight.normal_(0, 0.5)
    row = sample(31, 3)
    assert model.forward_only(inputs=[row])["loss"] == pytest.approx(loss_of_whole_logits(model, row), abs=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("name", ["plain", "capped"])
def test_a_temperature_that_is_none_is_refused_however_logits_are_made(name: str, temperature: float) -> None:
    model = TransformersModel(config=CONFIGS[name][0], mixed_precision="no", attn_implementation="eager")
    with pytest.raises(InvalidArgument, match="temperature: expected a finite number above 0"):
        model.forward_only(inputs=[sample(9, 0)], temperature=temperature)
