"""A tiny training run through the public face, for tests that compare runs: every setup is the same call with another name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from tiny_model import make_model

from twinkle.model import TransformersModel

SMALL: dict[str, Any] = {
    "vocab_size": 700,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
"""What the configurations of most decoders take, for a model of random weights that reads what :func:`sample` gives."""


def make_tiny(folder: Path, **overrides: Any) -> Path:
    """The smallest Qwen3 that has more than one head, layer and key-value group."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    return make_model(folder, seed=3, **{**sizes, **overrides})


def sample(length: int, seed: int) -> dict[str, Any]:
    """Random ids; about half of the positions are trained, the first two never are."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 700, (length,), generator=generator).tolist()
    trained = torch.rand(length, generator=generator).tolist()
    labels = [t if p < 0.5 and i >= 2 else -100 for i, (t, p) in enumerate(zip(ids[1:], trained, strict=False))] + [-100]
    return {"input_ids": ids, "labels": labels}


def packed(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``samples`` as one packed row."""
    return {
        "input_ids": [t for s in samples for t in s["input_ids"]],
        "labels": [t for s in samples for t in s["labels"]],
        "position_ids": [i for s in samples for i in range(len(s["input_ids"]))],
    }


def batches(num: int, size: int = 2, seed: int = 0) -> list[list[dict[str, Any]]]:
    """``num`` batches of ``size`` samples of various lengths."""
    return [[sample(5 + (7 * b + 3 * i) % 11, seed + 100 * b + i) for i in range(size)] for b in range(num)]


def lora(dropout: float = 0.0, **options: Any) -> LoraConfig:
    """A LoRA on all projections whose B is not zero, so that every gradient counts."""
    return LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=dropout, init_lora_weights=False, **options)


def make_trainee(
    folder: Path,
    kind: str = "lora",
    *,
    accumulation: int = 1,
    optimizer: str = "AdamW",
    dropout: float = 0.0,
    schedule: str | None = "CosineWarmupScheduler",
    num_steps: int = 12,
    **options: Any,
) -> TransformersModel:
    """A model set up to train; the adapter's weights depend on nothing but the call. ``kind`` is "lora" or "full"."""
    model = TransformersModel(model_id=folder, **{"mixed_precision": "no", **options})
    if kind == "lora":
        torch.manual_seed(11)
        model.add_adapter_to_model("default", lora(dropout), gradient_accumulation_steps=accumulation)
    model.set_optimizer(optimizer, lr=1e-2)
    if schedule is not None:
        model.set_lr_scheduler(schedule, num_warmup_steps=2, num_training_steps=num_steps)
    return model


def train(model: TransformersModel, data: Iterable[Any], accumulation: int = 1, **arguments: Any) -> list[float]:
    """The losses of one call of forward_backward and clip_grad_and_step per batch."""
    losses = []
    for batch in data:
        output = model.forward_backward(inputs=batch, gradient_accumulation_steps=accumulation, **arguments)
        model.clip_grad_and_step()
        losses.append(output["loss"])
    return losses


def weights(model: TransformersModel, adapter_name: str | None = None) -> dict[str, torch.Tensor]:
    """Copies of the trained parameters."""
    return {name: value.clone() for name, value in model.get_state_dict(adapter_name=adapter_name).items()}


def assert_same_bits(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Every tensor equal to the bit, under the same names."""
    assert got.keys() == expected.keys()
    different = [name for name, value in expected.items() if not torch.equal(got[name], value) or got[name].dtype != value.dtype]
    assert not different, different
