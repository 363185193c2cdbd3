"""Backward passes that are not differentiable themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


def once_differentiable(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """A backward pass with ``create_graph=True`` raises RuntimeError.

    It is refused here rather than in the second pass, as torch's decorator of this name does it. That pass reaches an error only where
    the gradient's graph leads to what is differentiated: through the upstream gradient alone, a constant behind a sum, or through an
    input that the kernel did not keep, a second derivative would be zero without a word.
    """

    @functools.wraps(backward)
    def first_derivative(ctx: Any, *upstream: Any) -> Gradients:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "expected first derivatives alone, got a backward pass with create_graph=True: leave it out or, for a second derivative, "
                "use plain operations, such as the kernel's reference"
            )
        return backward(ctx, *upstream)

    return first_derivative
