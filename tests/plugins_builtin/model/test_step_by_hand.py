"""One training step equals a step that is written out here in plain PyTorch, in float64, however its batch is split.

Tolerance 1e-10: both sides compute in float64, in another order, so the difference is float64 noise (1e-16 relative, over sums of some
thousand terms). The norms of the model compute in float64 too, on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_model import make_model
from transformers import AutoModelForCausalLM

from twinkle.model import TransformersModel
from twinkle.plugins_builtin.model._step_engine import StepEngine

LR, DECAY, BETAS, EPS, MAX_NORM = 1e-4, 0.1, (0.9, 0.999), 1e-8, 0.05
NUM_SAMPLES = 4
EXACT = {"rtol": 1e-10, "atol": 1e-10}


pytestmark = pytest.mark.usefixtures("norms_in_float64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), seed=1)


def sample(length: int, seed: int) -> dict[str, Any]:
    """Random ids; about half of the positions are trained, the first two never are."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 700, (length,), generator=generator).tolist()
    trained = torch.rand(length, generator=generator).tolist()
    labels = [t if p < 0.5 and i >= 2 else -100 for i, (t, p) in enumerate(zip(ids[1:], trained, strict=False))] + [-100]
    return {"input_ids": ids, "labels": labels}


SAMPLES = [sample(length, seed) for seed, length in enumerate((7, 19, 12, 33))]


def lora() -> LoraConfig:
    # Weights B that are not zero, else half of the gradients are.
    return LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)


def decayed(name: str, parameter: torch.Tensor) -> bool:
    return "norm" not in name and "bias" not in name and parameter.dim() > 1


class ByHand:
    """Loss, gradients and weights of one AdamW step (Loshchilov and Hutter 2019, algorithm 2), on a padded batch, all at once."""

    def __init__(self, model: torch.nn.Module, samples: list[dict[str, Any]], clip: bool) -> None:
        longest = max(len(s["input_ids"]) for s in samples)
        ids = torch.zeros(len(samples), longest, dtype=torch.int64)
        targets = torch.full((len(samples), longest), -100)
        attention_mask = torch.zeros(len(samples), longest, dtype=torch.int64)
        for row, s in enumerate(samples):
            n = len(s["input_ids"])
            ids[row, :n] = torch.tensor(s["input_ids"])
            targets[row, :n] = torch.tensor(s["labels"])
            attention_mask[row, :n] = 1
        logits = model(input_ids=ids, attention_mask=attention_mask).logits
        probabilities = torch.softmax(logits, dim=-1)
        picked = probabilities.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        loss = -(picked.log() * (targets != -100)).sum() / (targets != -100).sum()
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        gradients = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
        self.loss = loss.item()
        self.norm = sum((g**2).sum() for g in gradients.values()).sqrt()
        self.gradients = gradients
        factor = min(1.0, MAX_NORM / (self.norm.item() + 1e-6)) if clip else 1.0
        self.weights = {}
        for name, p in trained.items():
            g = gradients[name] * factor
            m, v = (1 - BETAS[0]) * g, (1 - BETAS[1]) * g**2
            step = (m / (1 - BETAS[0])) / ((v / (1 - BETAS[1])).sqrt() + EPS)
            self.weights[name] = p.detach() * (1 - LR * (DECAY if decayed(name, p) else 0.0)) - LR * step


def plain_model(folder: Path, with_lora: bool) -> torch.nn.Module:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    if with_lora:
        torch.manual_seed(5)
        model = get_peft_model(model, lora(), adapter_name="default")
    return model.double()


def twinkle_model(folder: Path, with_lora: bool, accumulation: int) -> TransformersModel:
    model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
    if with_lora:
        torch.manual_seed(5)
        model.add_adapter_to_model("default", lora(), gradient_accumulation_steps=accumulation)
        model.model.double()
    model.set_optimizer("AdamW", lr=LR, weight_decay=DECAY, betas=BETAS, eps=EPS)
    return model


def splits(num_samples: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Every way to cut the samples into consecutive calls, with every micro-batch size that matters for it."""
    for cuts in itertools.chain.from_iterable(itertools.combinations(range(1, num_samples), k) for k in range(num_samples)):
        sizes = tuple(b - a for a, b in itertools.pairwise((0, *cuts, num_samples)))
        for micro in range(1, max(sizes) + 1):
            yield sizes, micro


def run_step(model: TransformersModel, samples: list[dict[str, Any]], sizes: tuple[int, ...], micro: int, clip: bool) -> dict[str, Any]:
    """One step of ours, with ``samples`` cut into calls of ``sizes``."""
    first, losses, counts = 0, [], []
    for size in sizes:
        chunk = samples[first : first + size]
        first += size
        output = model.forward_backward(inputs=chunk, micro_batch_size=micro, gradient_accumulation_steps=len(sizes))
        losses.append(output["loss"])
        counts.append(sum(label != -100 for s in chunk for label in s["labels"]))
    group = next(iter(model.optimizer_group.values()))
    seen: dict[str, Any] = {"loss": sum(loss * n for loss, n in zip(losses, counts, strict=True)) / sum(counts)}
    if clip:
        seen["norm"] = model.clip_grad_norm(MAX_NORM)
    else:
        group.engine.normalise()
        seen["gradients"] = {name: p.grad.clone() for name, p in group.named_parameters.items()}
    model.step()
    model.zero_grad()
    seen["weights"] = {name: p.detach().clone() for name, p in group.named_parameters.items()}
    return seen


def assert_same(seen: dict[str, Any], expected: ByHand) -> None:
    assert seen["loss"] == pytest.approx(expected.loss, rel=1e-10)
    if "norm" in seen:
        torch.testing.assert_close(seen["norm"], expected.norm, **EXACT)
    for name, gradient in seen.get("gradients", {}).items():
        torch.testing.assert_close(gradient, expected.gradients[name], **EXACT, msg=lambda m, n=name: f"gradient of {n}: {m}")
    assert seen["weights"].keys() == expected.weights.keys()
    for name, weight in seen["weights"].items():
        torch.testing.assert_close(weight, expected.weights[name], **EXACT, msg=lambda m, n=name: f"weight {n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("with_lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("clip", [False, True], ids=["unclipped", "clipped"])
def test_a_step_equals_the_one_by_hand_for_every_split(folder: Path, with_lora: bool, clip: bool) -> None:
    expected = ByHand(plain_model(folder, with_lora), SAMPLES, clip)
    assert expected.norm > MAX_NORM, "else clipping would do nothing"
    cases = list(splits(NUM_SAMPLES))
    assert len(cases) == 1 * 4 + 2 * 3 + 1 * 2 + 3 * 2 + 1 * 1  # (4); (1,3) (3,1); (2,2); three with a 2; (1,1,1,1)
    for sizes, micro in cases:
        assert_same(run_step(twinkle_model(folder, with_lora, len(sizes)), SAMPLES, sizes, micro, clip), expected)


@pytest.mark.parametrize("form", ["packed", "padded", "left-padded", "flat", "eager"])
def test_packed_padded_and_flat_batches_make_the_same_step(folder: Path, form: str) -> None:
    from twinkle.processor import InputProcessor

    expected = ByHand(plain_model(folder, False), SAMPLES, clip=False)
    inputs: Any = SAMPLES
    if form == "packed":
        rows = (SAMPLES[:3], SAMPLES[3:])
        inputs = [
            {
                "input_ids": [t for s in row for t in s["input_ids"]],
                "labels": [t for s in row for t in s["labels"]],
                "position_ids": [i for s in row for i in range(len(s["input_ids"]))],
            }
            for row in rows
        ]
    elif form != "eager":
        inputs = InputProcessor(padding_free=form == "flat", padding_side="left" if form == "left-padded" else "right")(SAMPLES)
    options = {"attn_implementation": "eager"} if form == "eager" else {}
    model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no", **options)
    model.set_optimizer("AdamW", lr=LR, weight_decay=DECAY, betas=BETAS, eps=EPS)
    output = model.forward_backward(inputs=inputs)
    # Eager attention takes its softmax in float32: 6e-8 relative a weight, some ten times that in the sums of a gradient.
    tolerance = {"rtol": 2e-5, "atol": 1e-7} if form == "eager" else EXACT
    assert output["loss"] == pytest.approx(expected.loss, rel=1e-6 if form == "eager" else 1e-10)
    group = model.optimizer_group[""]
    group.engine.normalise()
    for name, parameter in group.named_parameters.items():
        torch.testing.assert_close(parameter.grad, expected.gradients[name], **tolerance, msg=lambda m, n=name: f"{form}: {n}: {m}")


def mean_of_calls(engine: StepEngine) -> None:
    """Divides by the number of calls instead of tokens: a mean of means."""
    engine._scale([p.grad for p in engine.parameters], torch.tensor(1.0 / engine.gradient_accumulation_steps))
    engine._normalised = True


def never(engine: StepEngine) -> None:
    """Does not divide at all."""
    engine._normalised = True


@pytest.mark.parametrize("mutant", [mean_of_calls, never])
def test_a_wrong_normalisation_is_seen(folder: Path, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ByHand(plain_model(folder, False), SAMPLES, clip=False)
    monkeypatch.setattr(StepEngine, "normalise", mutant)
    with pytest.raises(AssertionError):
        assert_same(run_step(twinkle_model(folder, False, 2), SAMPLES, (1, 3), 2, clip=False), expected)
