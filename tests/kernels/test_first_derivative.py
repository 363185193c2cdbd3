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
def test_a_gradient_that_could_be_differentiated_is_refused(name: str, total: Callable[[Tensor], Tensor]) -> None:
    """Mutant: torch's own decorator, which gives a zero where the upstream gradient is a constant."""
    kernel, shapes = KERNELS[name]
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
    for wanted in (leaves, *([leaf] for leaf in leaves)):
        torch.autograd.grad(total(kernel(*leaves)), wanted)
        with pytest.raises(RuntimeError, match="expected first derivatives alone, got a backward pass with create_graph=True"):
            torch.autograd.grad(total(kernel(*leaves)), wanted, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives alone"):
        total(kernel(*leaves)).backward(create_graph=True)


def test_a_second_derivative_by_one_input_never_misses_the_path_through_the_kernel() -> None:
    """Mutant: an error that hangs in the graph beside ``weight``, which autograd skips where ``weight`` alone is asked for."""
    weight, x = torch.ones(4, requires_grad=True), torch.randn(2, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="first derivatives alone"):
        (gradient,) = torch.autograd.grad((rms_norm(x * weight, weight, 1e-6) ** 3).sum(), x, create_graph=True)
        torch.autograd.grad(gradient.square().sum(), weight)
