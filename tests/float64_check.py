"""A function of tensors against its formula in float64: values, and gradients under random upstream ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Outputs = Tensor | tuple[Tensor, ...]

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Absolute and relative, for numbers of size 1 and sums of some tens of them: about 80 units of the last place in float32, where only the
order of summation differs, and 4 in 16 bits, where a result and up to two steps before it are rounded."""


def assert_agrees(
    fast: Callable[..., Outputs], reference: Callable[..., Outputs], inputs: Sequence[Tensor], frozen: Sequence[int] = (), seed: int = 1
) -> None:
    """``fast`` on ``inputs`` as they are, ``reference`` on the same numbers in float64; no gradient for inputs counted in ``frozen``."""
    tolerance = max(TOLERANCES[x.dtype] for x in inputs)
    leaves = [x.detach().requires_grad_(i not in frozen) for i, x in enumerate(inputs)]
    exact = [x.detach().double().requires_grad_(i not in frozen) for i, x in enumerate(inputs)]
    outputs, expected = _tuple(fast(*leaves)), _tuple(reference(*exact))
    generator = torch.Generator().manual_seed(seed)
    upstream = [torch.randn(y.shape, generator=generator).to(y.device, y.dtype) for y in outputs]
    gradients = torch.autograd.grad(outputs, [x for x in leaves if x.requires_grad], upstream)
    exact_gradients = torch.autograd.grad(expected, [x for x in exact if x.requires_grad], [g.double() for g in upstream])
    for ours, theirs in zip((*outputs, *gradients), (*expected, *exact_gradients), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)
    for x, gradient in zip([x for x in leaves if x.requires_grad], gradients, strict=True):
        assert gradient.dtype == x.dtype and gradient.shape == x.shape


def _tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
