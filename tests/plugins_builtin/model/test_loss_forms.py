"""What a loss may return, and that no step depends on how its batch was split. By hand, float64, 1e-10."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from tiny_training import sample
from transformers import AutoModelForCausalLM, Qwen3MoeConfig

from twinkle.core.errors import ContractViolation, InvalidArgument
from twinkle.loss import CrossEntropyLoss
from twinkle.model import TransformersModel

pytestmark = pytest.mark.usefixtures("norms_in_float64")

EXACT = {"rtol": 1e-10, "atol": 1e-10}
SAMPLES = [sample(length, seed) for seed, length in enumerate((7, 19, 12, 9))]
ByHand = Callable[[list[torch.Tensor], list[torch.Tensor]], torch.Tensor]
"""The loss of all samples, from the log-probabilities and the mask of each."""


def masked(inputs: Any, outputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    mask = inputs["labels"] != -100
    return torch.where(mask, outputs["logps"], 0.0), mask


def squares(inputs: Any, outputs: Any) -> torch.Tensor:
    """A mean over sequences, as a plain function: the square of each one's log-probability."""
    logps, _ = masked(inputs, outputs)
    return (logps.sum(1) ** 2).mean()


def squares_as_mapping(inputs: Any, outputs: Any) -> dict[str, Any]:
    return {"loss": squares(inputs, outputs), "num_tokens": 0}


def token_mean(inputs: Any, outputs: Any) -> dict[str, Any]:
    logps, mask = masked(inputs, outputs)
    return {"loss": (logps**2).sum() / mask.sum(), "num_tokens": 0, "domain": "token"}


def token_sum(inputs: Any, outputs: Any) -> dict[str, Any]:
    logps, mask = masked(inputs, outputs)
    return {"loss": (logps**2).sum(), "num_tokens": mask.sum()}


def count_as_number(inputs: Any, outputs: Any) -> dict[str, Any]:
    logps, mask = masked(inputs, outputs)
    return {"loss": (logps**2).sum(), "num_tokens": int(mask.sum())}


def two_terms(inputs: Any, outputs: Any) -> tuple[Any, ...]:
    """A sum over tokens, and a mean over sequences: each with a denominator of its own."""
    return token_sum(inputs, outputs), 0.25 * squares(inputs, outputs)


def three_terms(inputs: Any, outputs: Any) -> list[Any]:
    logps, mask = masked(inputs, outputs)
    pairs = {"loss": logps.sum(1).tanh().sum(), "num_tokens": 2.0 * len(mask), "domain": "sequence"}
    return [token_sum(inputs, outputs), pairs, squares(inputs, outputs)]


def hand_squares(logps: list[torch.Tensor], masks: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([v.sum() ** 2 for v in logps]).mean()


def hand_tokens(logps: list[torch.Tensor], masks: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([(v**2).sum() for v in logps]).sum() / sum(int(m.sum()) for m in masks)


def hand_two(logps: list[torch.Tensor], masks: list[torch.Tensor]) -> torch.Tensor:
    return hand_tokens(logps, masks) + 0.25 * hand_squares(logps, masks)


def hand_three(logps: list[torch.Tensor], masks: list[torch.Tensor]) -> torch.Tensor:
    pairs = torch.stack([v.sum().tanh() for v in logps]).sum() / (2 * len(logps))
    return hand_tokens(logps, masks) + pairs + hand_squares(logps, masks)


FORMS: list[tuple[Any, ByHand]] = [
    (squares, hand_squares),
    (squares_as_mapping, hand_squares),
    (token_mean, hand_tokens),
    (token_sum, hand_tokens),
    (count_as_number, hand_tokens),
    (two_terms, hand_two),
    (three_terms, hand_three),
]
SPLITS = [((4,), None), ((4,), 1), ((4,), 3), ((1, 3), None), ((3, 1), 2), ((2, 1, 1), 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "by_hand"), FORMS, ids=[loss.__name__ for loss, _ in FORMS])
def test_a_step_is_that_by_hand_for_every_split(folder: Path, loss: Any, by_hand: ByHand) -> None:
    """Mutants seen to fail: a mean of means; one denominator for all terms; further terms dropped at the step."""
    reference: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    logps, masks = [], []
    for s in SAMPLES:
        labels = torch.tensor(s["labels"])
        values = reference(input_ids=torch.tensor([s["input_ids"]])).logits[0].log_softmax(-1)
        masks.append(labels != -100)
        logps.append(values.gather(-1, labels.clamp(min=0)[:, None])[:, 0] * masks[-1])
    expected_loss = by_hand(logps, masks)
    parameters = dict(reference.named_parameters())
    expected = dict(zip(parameters, torch.autograd.grad(expected_loss, list(parameters.values())), strict=True))
    norm = torch.stack([(g**2).sum() for g in expected.values()]).sum().sqrt()
    for sizes, micro in SPLITS:
        model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
        model.set_loss(loss)
        model.set_optimizer("SGD", lr=1e-3, weight_decay=0.0)
        for first, last in itertools.pairwise((0, *itertools.accumulate(sizes))):
            output = model.forward_backward(inputs=SAMPLES[first:last], micro_batch_size=micro, gradient_accumulation_steps=len(sizes))
        if sizes == (4,):
            assert output["loss"] == pytest.approx(expected_loss.item(), rel=1e-10)
        torch.testing.assert_close(model.clip_grad_norm(max_grad_norm=1e9), norm, **EXACT)
        model.step()
        for name, parameter in model.model.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[name], **EXACT, msg=lambda m, n=name, s=(sizes, micro): f"{s} {n}: {m}")
            torch.testing.assert_close(parameter.detach(), parameters[name].detach() - 1e-3 * expected[name], **EXACT)


@pytest.mark.parametrize("weight", [0.01, 1e-30])
def test_the_reported_loss_is_over_its_denominator_however_small(folder: Path, weight: float) -> None:
    """A weighted mean is the mean where all weights are equal, whatever they are. Mutant: no denominator below 1."""

    def weighted(inputs: Any, outputs: Any) -> dict[str, Any]:
        logps, mask = masked(inputs, outputs)
        return {"loss": -weight * logps.sum(), "num_tokens": weight * mask.sum().double()}

    model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
    expected = model.forward_only(inputs=SAMPLES)["loss"]
    model.set_loss(weighted)
    model.add_metric("LossMetric")
    seen = [model.forward_only(inputs=SAMPLES, micro_batch_size=size)["loss"] for size in (None, 1)]
    model.forward(inputs=SAMPLES)
    seen += [model.calculate_loss(), float(model.calculate_metric(is_training=True)["loss"])]
    model.backward()
    seen += [model.forward_backward(inputs=SAMPLES, micro_batch_size=size)["loss"] for size in (None, 3)]
    seen.append(model.calculate_metric(is_training=True)["loss"])
    assert [float(loss) for loss in seen] == pytest.approx([expected] * len(seen), rel=1e-10)


@pytest.mark.parametrize("denominator", [0.0, -2.0])
def test_without_a_denominator_above_zero_there_is_no_loss(folder: Path, denominator: float) -> None:
    """As the step has it: no gradient, no loss, not nan. Mutants: divided all the same; the sum itself."""

    def nothing_counts(inputs: Any, outputs: Any) -> dict[str, Any]:
        logps, mask = masked(inputs, outputs)
        return {"loss": -logps.sum(), "num_tokens": denominator * mask.any()}

    model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
    model.set_loss(nothing_counts)
    model.add_metric("LossMetric")
    seen = [model.forward_backward(inputs=SAMPLES, micro_batch_size=size)["loss"] for size in (None, 1)]
    model.clip_grad_norm(1.0)
    seen.append(float(model.calculate_metric(is_training=True)["loss"]))
    model.forward(inputs=SAMPLES)
    seen.append(model.calculate_loss())
    assert seen == [0.0] * 4
    assert not any(p.grad.any() for p in model.model.parameters() if p.grad is not None)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_mean_that_ignores_another_label_does_not_depend_on_the_split(folder: Path, reduction: Any) -> None:
    """Labels of 0 in place of -100, in some samples, are the same step. Mutants: turned back with the count of all labels; -100 counted."""
    model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")

    def step(inputs: Any, size: int | None = None) -> list[float]:
        loss = model.forward_backward(inputs=inputs, micro_batch_size=size)["loss"]
        norm = float(model.clip_grad_norm(1.0))
        model.zero_grad()
        return [loss, norm]

    expected = step(SAMPLES)
    model.set_loss(CrossEntropyLoss(reduction, ignore_index=0))
    of_zero = [{**s, "labels": [0 if label == -100 else label for label in s["labels"]]} for s in SAMPLES[:2]] + SAMPLES[2:]
    assert step(of_zero) == pytest.approx(expected, rel=1e-10)
    assert step(of_zero, 1) == pytest.approx(expected, rel=1e-10)


def contrast(inputs: Any, outputs: Any) -> dict[str, Any]:
    """Compares the samples of a batch: it cannot be split."""
    logps, _ = masked(inputs, outputs)
    return {"loss": -logps.sum(1).log_softmax(0)[0], "num_tokens": 0, "domain": "batch"}


def test_a_loss_over_the_batch_is_a_mean_over_calls_and_takes_no_micro_batches(folder: Path) -> None:
    model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
    model.set_loss(contrast)
    halves = [model.forward_backward(inputs=half, gradient_accumulation_steps=2)["loss"] for half in (SAMPLES[:2], SAMPLES[2:])]
    model.clip_grad_norm(1e9)
    gradient = model.model.model.norm.weight.grad.clone()
    separate = []
    for half, loss in zip((SAMPLES[:2], SAMPLES[2:]), halves, strict=True):
        one = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
        one.set_loss(contrast)
        assert one.forward_backward(inputs=half)["loss"] == loss
        one.clip_grad_norm(1e9)
        separate.append(one.model.model.norm.weight.grad)
    torch.testing.assert_close(gradient, (separate[0] + separate[1]) / 2, **EXACT)
    with pytest.raises(InvalidArgument, match=r"loss 'contrast' compares the samples .*: it takes no micro_batch_size"):
        model.forward_backward(inputs=SAMPLES, micro_batch_size=2)


def test_loss_arguments_reach_the_loss_and_are_split_with_the_samples(folder: Path) -> None:
    seen: list[Any] = []

    def weighted(inputs: Any, outputs: Any, *, advantages: Any, scale: float = 1.0) -> torch.Tensor:
        seen.append((list(advantages), scale))
        logps, _ = masked(inputs, outputs)
        return -(logps.sum(1) * torch.as_tensor(advantages, dtype=logps.dtype)).mean() * scale

    losses = []
    for advantages in ([1.0, -2.0, 0.5, 3.0], torch.tensor([1.0, -2.0, 0.5, 3.0])):
        for micro in (None, 1, 3):
            model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
            model.set_loss(weighted)
            losses.append(model.forward_backward(inputs=SAMPLES, advantages=advantages, scale=0.5, micro_batch_size=micro)["loss"])
            model.forward(inputs=SAMPLES)
            losses.append(model.calculate_loss(advantages=advantages, scale=0.5))
            losses.append(model.forward_only(inputs=SAMPLES, advantages=advantages, scale=0.5, micro_batch_size=micro)["loss"])
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-10)
    assert ([3.0], 0.5) in seen
    assert ([1.0, -2.0, 0.5], 0.5) in seen


def test_the_auxiliary_loss_of_experts_counts_with_its_coefficient() -> None:
    """As transformers adds it: ``router_aux_loss_coef`` times the balance of the whole batch."""
    config = Qwen3MoeConfig(
        vocab_size=700,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_experts=4,
        num_experts_per_tok=2,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        output_router_logits=True,
        router_aux_loss_coef=0.5,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    model = TransformersModel(config=config, mixed_precision="no")
    reference = model.model
    got = model.forward_only(inputs=SAMPLES[:1])["loss"]
    with torch.no_grad():
        labels = torch.tensor([SAMPLES[0]["labels"]])
        outputs = reference(input_ids=torch.tensor([SAMPLES[0]["input_ids"]]))
        expected = torch.nn.functional.cross_entropy(outputs.logits[0], labels[0]) + 0.5 * outputs.aux_loss
    assert outputs.aux_loss > 0.1
    assert got == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda inputs, outputs: 1.0, "expected a scalar tensor, a mapping with 'loss' and 'num_tokens', or a tuple of these; got float"),
        (lambda inputs, outputs: outputs["logps"], "expected a scalar tensor, .* got a mapping with .* whose 'loss' has shape"),
        (lambda inputs, outputs: {"los": 1}, r"got a mapping with \['los'\]"),
        (lambda inputs, outputs: outputs["logps"].detach().sum(), "has no gradient: it must be computed from the outputs"),
        (
            lambda inputs, outputs: {"loss": outputs["logps"].sum(), "domain": "row"},
            r"its domain must be one of \('token', 'sequence', 'batch'\), got 'row'",
        ),
    ],
)
def test_a_loss_that_returns_something_else_is_told(folder: Path, loss: Any, message: str) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.set_loss(loss)
    with pytest.raises(ContractViolation, match=f"loss '.*lambda.*'.*{message}"):
        model.forward_backward(inputs=SAMPLES)


def test_a_layer_that_cuts_the_gradient_is_not_blamed_on_the_loss_alone(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.add_adapter_to_model("default", LoraConfig(target_modules="all-linear"))
    model._base.model.norm.register_forward_hook(lambda module, arguments, output: output.detach())
    with pytest.raises(
        ContractViolation, match=r"loss 'cross_entropy' has no gradient: .* or it is, and .* a patch or a kernel .* cuts it off"
    ):
        model.forward_backward(inputs=SAMPLES)


def test_the_number_of_terms_may_not_change_inside_a_window(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.set_loss(two_terms)
    model.forward_backward(inputs=SAMPLES, gradient_accumulation_steps=2)
    model.set_loss(squares)
    with pytest.raises(InvalidArgument, match="the loss gave 1 terms after 2 in the same accumulation window"):
        model.forward_backward(inputs=SAMPLES)


def test_a_loss_that_raises_raises(folder: Path) -> None:
    def broken(inputs: Any, outputs: Any) -> torch.Tensor:
        raise KeyError("what I need")

    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.set_loss(broken)
    with pytest.raises(KeyError, match="what I need"):
        model.forward_backward(inputs=SAMPLES)
