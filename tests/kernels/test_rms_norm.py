"""RMSNorm equals its formula in float64, in value and gradient, and transformers' modules in their own precision."""

from __future__ import annotations

import pytest
import torch
from float64_check import assert_agrees
from torch import Tensor

from twinkle.kernels.rms_norm import add_rms_norm, add_rms_norm_ref, rms_norm, rms_norm_ref

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")  # on a GPU, at the first compilation

SHAPES = [(1, 1), (1, 7), (9,), (7, 1), (3, 37), (2, 3, 5, 24), (13, 130)]


def numbers(*shape: int, dtype: torch.dtype = torch.float32, device: torch.device, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_equal_the_formula(shape: tuple[int, ...], offset: float, layer_path: str, device: torch.device) -> None:
    x, weight = numbers(*shape, device=device), numbers(shape[-1], device=device, seed=1)
    assert_agrees(lambda x, w: rms_norm(x, w, 0.1, offset=offset), lambda x, w: rms_norm_ref(x, w, 0.1, offset=offset), [x, weight])


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_sum_with_a_residual_does_too(shape: tuple[int, ...], offset: float, layer_path: str, device: torch.device) -> None:
    inputs = [numbers(*shape, device=device), numbers(*shape, device=device, seed=2), numbers(shape[-1], device=device, seed=1)]
    assert_agrees(
        lambda x, r, w: add_rms_norm(x, r, w, 0.1, offset=offset), lambda x, r, w: add_rms_norm_ref(x, r, w, 0.1, offset=offset), inputs
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precisions_stay_within_their_rounding(dtype: torch.dtype, layer_path: str, device: torch.device) -> None:
    x, residual, weight = (numbers(*s, dtype=dtype, device=device, seed=i) for i, s in enumerate([(5, 40), (5, 40), (40,)]))
    assert_agrees(lambda x, w: rms_norm(x, w, 1e-6), lambda x, w: rms_norm_ref(x, w, 1e-6), [x, weight])
    assert_agrees(lambda x, r, w: add_rms_norm(x, r, w, 1e-6), lambda x, r, w: add_rms_norm_ref(x, r, w, 1e-6), [x, residual, weight])


def test_any_strides_are_taken(layer_path: str, device: torch.device) -> None:
    """Heads of a projection, every second number, an expanded tensor, and five dims that no three strides reach."""
    views = [
        numbers(2, 5, 3, 8, device=device).transpose(1, 2),
        numbers(4, 16, device=device)[:, ::2],
        numbers(1, 8, device=device).expand(3, 8),
        numbers(2, 3, 2, 3, 8, device=device).permute(3, 1, 0, 2, 4),
        numbers(4, 3, 24, device=device)[..., 8:16],
    ]
    for x in views:
        assert_agrees(lambda x, w: rms_norm(x, w, 0.1), lambda x, w: rms_norm_ref(x, w, 0.1), [x, numbers(8, device=device, seed=1)])
    x, weight = views[0].detach().requires_grad_(), numbers(8, device=device)
    (gradient,) = torch.autograd.grad(rms_norm(x, weight, 0.1).sum(), x)  # its upstream gradient has the strides 0
    (expected,) = torch.autograd.grad(rms_norm_ref(x.double(), weight, 0.1).sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_a_frozen_weight_gets_no_gradient_and_the_input_the_same(layer_path: str, device: torch.device) -> None:
    inputs = [numbers(6, 10, device=device), numbers(6, 10, device=device, seed=2), numbers(10, device=device, seed=1)]
    assert_agrees(lambda x, w: rms_norm(x, w, 0.1), lambda x, w: rms_norm_ref(x, w, 0.1), inputs[::2], frozen=[1])
    assert_agrees(lambda x, r, w: add_rms_norm(x, r, w, 0.1), lambda x, r, w: add_rms_norm_ref(x, r, w, 0.1), inputs, frozen=[2])


@pytest.mark.parametrize("used", [0, 1])
def test_one_of_the_two_results_may_lead_nowhere(used: int, layer_path: str, device: torch.device) -> None:
    inputs = [numbers(3, 5, device=device), numbers(3, 5, device=device, seed=2), numbers(5, device=device, seed=1)]
    x, residual, weight = (t.requires_grad_() for t in inputs)
    add_rms_norm(x, residual, weight, 0.1)[used].square().sum().backward()
    exact = [t.detach().double().requires_grad_() for t in inputs]
    add_rms_norm_ref(*exact, 0.1)[used].square().sum().backward()
    for ours, reference in zip(inputs, exact, strict=True):
        assert (ours.grad is None) == (reference.grad is None)
        if ours.grad is not None and reference.grad is not None:
            torch.testing.assert_close(ours.grad.double(), reference.grad, rtol=1e-5, atol=1e-5)


def test_no_rows_give_no_rows(layer_path: str, device: torch.device) -> None:
    x, weight = numbers(0, 4, device=device).requires_grad_(), numbers(4, device=device).requires_grad_()
    y = rms_norm(x, weight, 0.1)
    y.sum().backward()
    assert y.shape == (0, 4) and weight.grad is not None and not weight.grad.any()


@pytest.mark.parametrize("wide_weight", [False, True])
def test_a_16_bit_model_sees_the_numbers_of_its_own_module(wide_weight: bool, layer_path: str, device: torch.device) -> None:
    """Equal but where the inverse root, summed in another order, falls on the other side of a rounding: 1 in 200 at most, by one unit."""
    from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    # Triton's interpreter truncates to bfloat16 where a GPU rounds.
    dtype = torch.float16 if layer_path == "triton" and device.type == "cpu" else torch.bfloat16
    x = numbers(16, 256, dtype=dtype, device=device)
    for module, offset in ((Qwen3RMSNorm(256, eps=1e-6), 0.0), (Gemma2RMSNorm(256, eps=1e-6), 1.0)):
        module = module.to(device, torch.float32 if wide_weight else dtype)
        module.weight.data = numbers(256, dtype=module.weight.dtype, device=device, seed=1)
        ours, theirs = rms_norm(x, module.weight, 1e-6, offset=offset), module(x)
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=2 * torch.finfo(dtype).eps, atol=0.0)
        assert (ours != theirs).float().mean() <= 5e-3


def test_gradients_of_float64_pass_gradcheck() -> None:
    x, residual = (torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 0.1), (x, weight))
    assert torch.autograd.gradcheck(lambda x, r, w: add_rms_norm(x, r, w, 0.1, offset=1.0), (x, residual, weight))


def test_kept_for_backward_are_the_input_and_a_number_a_row(layer_path: str, device: torch.device) -> None:
    x, weight = numbers(8, 64, device=device).requires_grad_(), numbers(64, device=device)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):  # type: ignore[func-returns-value]
        rms_norm(x, weight, 0.1)
    assert sorted(t.numel() for t in saved if t.data_ptr() not in (x.data_ptr(), weight.data_ptr())) == [8]


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weight must be \(4,\).*got \(3,\)"):
        rms_norm(torch.randn(2, 4), torch.randn(3), 0.1)
    with pytest.raises(ValueError, match="must agree in shape and dtype"):
        add_rms_norm(torch.randn(2, 4), torch.randn(1, 4), torch.randn(4), 0.1)
