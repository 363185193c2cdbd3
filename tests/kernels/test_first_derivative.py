"""A second derivative through a kernel is an error, never a zero."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from twinkle.kernels.linear_logprob import linear_logprob
from twinkle.kernels.moe_experts import moe_experts
from twinkle.kernels.qk_norm_rope import qk_norm_rope
from twinkle.kernels.rms_norm import add_rms_norm, rms_norm
from twinkle.kernels.rope import rope
from twinkle.kernels.swiglu import swiglu

ANGLES = torch.randn(2, 2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
INDEX = torch.tensor([[0, 1], [1, 0], [0, 1]])

KERNELS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "rms_norm": (lambda x, w: rms_norm(x, w, 0.1), ((3, 4), (4,))),
    "add_rms_norm": (lambda x, r, w: add_rms_norm(x, r, w, 0.1)[0], ((3, 4), (3, 4), (4,))),
    "swiglu": (swiglu, ((3, 4), (3, 4))),
    "rope": (lambda q, k: rope(q, k, *ANGLES)[0], ((2, 3, 5, 4), (2, 1, 5, 4))),
    "qk_norm_rope": (lambda q, k, *w: qk_norm_rope(q, k, *w, *ANGLES, 0.1)[0], ((2, 3, 5, 4), (2, 1, 5, 4), (4,), (4,))),
    "linear_logprob": (lambda h, w: linear_logprob(h, w, INDEX[:, 0]).logps_N, ((3, 4), (9, 4))),
    "moe_experts": (lambda h, g, d, w: moe_experts(h, g, d, INDEX, w), ((3, 4), (2, 6, 4), (2, 4, 3), (3, 2))),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("total", [torch.sum, lambda y: y.square().sum()], ids=["constant upstream", "upstream of the result"])
def test_a_penalty_on_the_gradient_is_refused(name: str, total: Callable[[Tensor], Tensor]) -> None:
    """Mutant: torch's own decorator, which gives a zero where the upstream gradient is a constant."""
    kernel, shapes = KERNELS[name]
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
    y = kernel(*leaves)
    plain = torch.autograd.grad(total(y), leaves, retain_graph=True)
    gradients = torch.autograd.grad(total(y), leaves, create_graph=True)
    for gradient, expected in zip(gradients, plain, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0.0, atol=0.0)
        with pytest.raises(RuntimeError, match="expected first derivatives alone"):
            gradient.square().sum().backward(retain_graph=True)
