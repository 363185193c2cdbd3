"""Backward passes that are not differentiable themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


def once_differentiable(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """A second derivative raises RuntimeError, always.

    torch's decorator of this name lets it pass as zero where the upstream gradient is a constant, as that of a sum is: a penalty on the
    gradient would be lost without a word.
    """

    @functools.wraps(backward)
    def first_derivative(ctx: Any, *upstream: Any) -> Gradients:
        with torch.no_grad():
            gradients = backward(ctx, *upstream)
        if not torch.is_grad_enabled():
            return gradients
        wanted = torch.empty(0, requires_grad=True)
        return tuple(None if g is None else _Refusal.apply(g, wanted) for g in gradients)  # type: ignore[no-untyped-call]

    return first_derivative


class _Refusal(torch.autograd.Function):
    """The identity, whose own backward pass is the error."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, wanted: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Gradients:
        raise RuntimeError("expected first derivatives alone, got a backward pass through a gradient: use the kernel's reference")
