"""Losses against torch and by hand, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.loss import ChunkedCrossEntropyLoss, CrossEntropyLoss, MSELoss

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits ``[2, 5, 7]``, labels with masked places, and the log-probability of each label (of token 0 where masked)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([[1, -100, 6, 0, -100], [-100, 3, -100, -100, 2]])
    logps = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return logits, labels, logps


@pytest.mark.parametrize("loss_class", [CrossEntropyLoss, ChunkedCrossEntropyLoss])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_is_that_of_torch(loss_class: Any, reduction: str) -> None:
    """Value and gradient. Mutants: sign, masked labels counted, divided by all positions."""
    logits, labels, logps = case()
    result = loss_class(reduction=reduction)({"labels": labels}, {"logps": logps})
    expected = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction=reduction)
    torch.testing.assert_close(result["loss"], expected, **EXACT)
    torch.testing.assert_close(
        torch.autograd.grad(result["loss"], logits, retain_graph=True)[0], torch.autograd.grad(expected, logits)[0], **EXACT
    )
    assert result["domain"] == "token"
    assert result["num_tokens"] == (0 if reduction == "mean" else 5)


def test_dft_weighs_each_token_by_its_probability_without_gradient() -> None:
    """sum of -sg(p) log p, so the gradient of the logit of label y is p_y (p_y - 1). Mutants: a gradient through p; sqrt(p)."""
    logits, labels, logps = case()
    result = CrossEntropyLoss(reduction="sum", dft=True)({"labels": labels}, {"logps": logps})
    total, gradient = 0.0, torch.zeros_like(logits)
    for b, t in (labels != -100).nonzero().tolist():
        p = logits[b, t].detach().softmax(-1)
        y = int(labels[b, t])
        total -= p[y].item() * p[y].log().item()
        gradient[b, t] = p[y] * (p - torch.eye(7, dtype=torch.float64)[y])
    assert result["loss"].item() == pytest.approx(total, rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(result["loss"], logits)[0], gradient, **EXACT)


def test_another_index_may_be_ignored() -> None:
    logits, labels, _ = case()
    labels = labels.masked_fill(labels == -100, 5)
    logps = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
    result = CrossEntropyLoss(ignore_index=5)({"labels": labels}, {"logps": logps})
    torch.testing.assert_close(result["loss"], cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=5), **EXACT)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_masked_places_do_not_count_where_another_index_is_ignored_too(reduction: Any) -> None:
    """What stands at -100 was never predicted. Mutants: one of the two counted; the mean taken for one over all that is not -100."""
    logits, labels, logps = case()
    result = CrossEntropyLoss(reduction, ignore_index=6)({"labels": labels}, {"logps": logps})
    expected = cross_entropy(logits.flatten(0, 1), labels.masked_fill(labels == 6, -100).flatten(), reduction=reduction)
    torch.testing.assert_close(result["loss"], expected, **EXACT)
    assert result["mean_over" if reduction == "mean" else "num_tokens"] == 4


def test_what_stands_at_masked_places_does_not_count_nor_spread() -> None:
    _, labels, logps = case()
    spoiled = torch.where(labels == -100, torch.nan, logps)
    clean = CrossEntropyLoss()({"labels": labels}, {"logps": logps})["loss"]
    result = CrossEntropyLoss()({"labels": labels}, {"logps": spoiled})["loss"]
    assert result == clean
    assert torch.autograd.grad(result, logps, allow_unused=True)[0].isfinite().all()


def test_no_label_at_all_is_a_loss_of_zero_with_a_graph() -> None:
    logits, labels, logps = case()
    result = CrossEntropyLoss()({"labels": torch.full_like(labels, -100)}, {"logps": logps})
    assert result["loss"].item() == 0.0
    assert not torch.autograd.grad(result["loss"], logits)[0].any()


def test_mse_is_the_mean_of_the_squares() -> None:
    logits, _, _ = case()
    labels = torch.randn(2, 5, 7, dtype=torch.float64)
    labels[0, 0, 0] = -100
    result = MSELoss()({"labels": labels}, {"logits": logits})
    counted = labels != -100
    expected = ((logits - labels) ** 2)[counted].mean()
    torch.testing.assert_close(result["loss"] / result["num_tokens"], expected, **EXACT)
    scalar_head = MSELoss()({"labels": labels[..., 0]}, {"logits": logits[..., :1]})
    torch.testing.assert_close(scalar_head["loss"], ((logits - labels)[..., 0] ** 2)[counted[..., 0]].sum(), **EXACT)
    with pytest.raises(InvalidData, match=r"expected labels in the shape of the logits, \(2, 5, 7\), got \(2, 5\)"):
        MSELoss()({"labels": labels[..., 0]}, {"logits": logits})


def test_wrong_options_are_told() -> None:
    with pytest.raises(InvalidArgument, match="reduction: expected 'mean' or 'sum', got 'none'"):
        CrossEntropyLoss(reduction="none")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="chunk_size: expected a whole number of 1 or more, got 0"):
        ChunkedCrossEntropyLoss(chunk_size=0)
