"""What a loss returned, as sums with denominators: the form in which terms can be added up over any split of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from twinkle.core.errors import ContractViolation
from twinkle.core.types import Domain
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch

_DOMAINS = ("token", "sequence", "batch")


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One term: its gradient counts ``total.grad / (sum of the denominators of the whole window)``."""

    total: Tensor
    """Scalar with a graph: a sum over ``denominator`` units."""
    denominator: Tensor
    """Scalar, without graph."""
    domain: Domain


def loss_terms(result: Any, batch: FlatBatch, name: str) -> tuple[LossTerm, ...]:
    """The terms of ``result``, which the loss ``name`` returned for ``batch``.

    A scalar, and a mapping whose ``num_tokens`` is the number 0, are means already: over the trained tokens where the domain is "token",
    over the batch where it is "batch", else over the sequences; over ``mean_over`` of them where the mapping says so. They are turned back
    into sums, so that no step depends on the split.

    Raises:
        ContractViolation: ``result`` is nothing that a loss may return.
    """
    if isinstance(result, tuple | list):
        return tuple(term for part in result for term in loss_terms(part, batch, name))
    if isinstance(result, Tensor):
        result = {"loss": result, "num_tokens": 0}
    if not isinstance(result, Mapping) or not isinstance(result.get("loss"), Tensor) or result["loss"].numel() != 1:
        raise ContractViolation(
            f"loss {name!r}: expected a scalar tensor, a mapping with 'loss' and 'num_tokens', or a tuple of these; got {_describe(result)}"
        )
    total = result["loss"].reshape(())
    domain = result.get("domain", "sequence" if _is_zero(result.get("num_tokens", 0)) else "token")
    if domain not in _DOMAINS:
        raise ContractViolation(f"loss {name!r}: its domain must be one of {_DOMAINS}, got {domain!r}")
    if not total.requires_grad and torch.is_grad_enabled():
        raise ContractViolation(
            f"loss {name!r} has no gradient: it must be computed from the outputs, not from detached values; or it is, and the outputs "
            "have none themselves, because a patch or a kernel in the model cuts it off, or because nothing in the model is trained"
        )
    if not _is_zero(result.get("num_tokens", 0)):
        return (LossTerm(total, _denominator(result["num_tokens"], total.device), domain),)
    weight = result.get("mean_over", {"token": batch.num_trained_tokens, "sequence": batch.num_sequences, "batch": 1}[domain])
    return (LossTerm(total * weight, _denominator(weight, total.device), domain),)


def mean_of(terms: tuple[LossTerm, ...]) -> Tensor:
    """The loss that ``terms`` amount to: each total over its own denominator, added up; float64 scalar without graph."""
    return reduce(torch.add, [quotient(t.total.detach(), t.denominator) for t in terms])


def quotient(total: Tensor, denominator: Tensor) -> Tensor:
    """``total / denominator``, float64 as ``denominator`` is; 0 where that is not above 0, as the step has it."""
    return (total / denominator).masked_fill(denominator <= 0, 0.0)


def _denominator(num_tokens: Tensor | float, device: torch.device) -> Tensor:
    """float64 scalar on ``device``, without waiting for it."""
    if isinstance(num_tokens, Tensor):
        return num_tokens.detach().to(device, torch.float64, non_blocking=True).reshape(())
    return torch.full((), float(num_tokens), dtype=torch.float64, device=device)


def _is_zero(num_tokens: Any) -> bool:
    """The number 0 means "a mean already"; a tensor is a count, whatever its value: reading it would wait for the device."""
    return not isinstance(num_tokens, Tensor) and num_tokens == 0


def _describe(result: Any) -> str:
    if isinstance(result, Mapping):
        loss = result.get("loss")
        return f"a mapping with {sorted(result)}" + (f" whose 'loss' has shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else "")
    return type(result).__name__
