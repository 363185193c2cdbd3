"""SwiGLU equals its formula in float64, in value and gradient, and never lets overwritten inputs be read again in silence."""

from __future__ import annotations

import pytest
import torch
from float64_check import assert_agrees
from torch import Tensor

from twinkle.kernels._row import MAX_ROW
from twinkle.kernels.swiglu import swiglu, swiglu_ref

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")  # on a GPU, at the first compilation


def numbers(*shape: int, dtype: torch.dtype = torch.float32, device: torch.device, seed: int = 0) -> Tensor:
    return (3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).to(device, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (5, 1), (3, 37), (2, 3, 2, 9), (0, 4)])
def test_values_and_gradients_equal_the_formula(shape: tuple[int, ...], dtype: torch.dtype, layer_path: str, device: torch.device) -> None:
    assert_agrees(swiglu, swiglu_ref, [numbers(*shape, dtype=dtype, device=device), numbers(*shape, dtype=dtype, device=device, seed=1)])


def test_any_strides_are_taken(layer_path: str, device: torch.device) -> None:
    """The halves of one projection, transposed and spread tensors, and two that differ."""
    halves = numbers(2, 3, 26, device=device).chunk(2, dim=-1)
    across = numbers(13, 3, 2, device=device).permute(2, 1, 0)
    turned = numbers(3, 2, 13, device=device, seed=2).transpose(0, 1)
    for gate, up in (halves, (across, halves[1]), (halves[0], turned), (turned, turned.contiguous())):
        assert_agrees(swiglu, swiglu_ref, [gate, up])
    gate = halves[0].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(swiglu(gate, halves[1]).sum(), gate)
    (expected,) = torch.autograd.grad(swiglu_ref(gate.double(), halves[1]).sum(), gate)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_overwriting_gives_the_same_gradients(dtype: torch.dtype, layer_path: str, device: torch.device) -> None:
    gate, up = numbers(3, 37, dtype=dtype, device=device), numbers(3, 37, dtype=dtype, device=device, seed=1)
    assert_agrees(lambda g, u: swiglu(g * 1, u * 1, overwrite=True), swiglu_ref, [gate, up])


def test_overwritten_inputs_are_not_read_again_in_silence(layer_path: str, device: torch.device) -> None:
    leaf = numbers(3, 8, device=device).requires_grad_()
    gate, up = leaf * 2, leaf * 3
    total = swiglu(gate, up, overwrite=True).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()
    other = leaf * 2
    kept = other.square()  # keeps ``other``
    swiglu(other, leaf * 3, overwrite=True).sum().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.sum().backward()


def test_without_overwriting_inputs_stay_and_backward_repeats(layer_path: str, device: torch.device) -> None:
    gate, up = (numbers(3, 8, device=device, seed=s).requires_grad_() for s in (0, 1))
    before = gate.detach().clone(), up.detach().clone()
    total = swiglu(gate, up).sum()
    first = torch.autograd.grad(total, (gate, up), retain_graph=True)
    second = torch.autograd.grad(total, (gate, up))
    for one, again in zip((*first, *before), (*second, gate.detach(), up.detach()), strict=True):
        torch.testing.assert_close(one, again, rtol=0.0, atol=0.0)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of NumPy, in Triton's interpreter: infinity is meant
def test_a_large_gate_makes_no_nan(layer_path: str, device: torch.device) -> None:
    gate = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], device=device)
    assert_agrees(swiglu, swiglu_ref, [gate, torch.ones_like(gate)])


def test_a_16_bit_model_sees_the_numbers_of_its_own_block(layer_path: str, device: torch.device) -> None:
    """Equal but where the last place of the exponential decides a rounding."""
    # Triton's interpreter truncates to bfloat16 where a GPU rounds.
    dtype = torch.float16 if layer_path == "triton" and device.type == "cpu" else torch.bfloat16
    gate, up = (numbers(8, 64, dtype=dtype, device=device, seed=s) for s in (0, 1))
    ours, theirs = swiglu(gate, up), torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(ours, theirs, rtol=2 * torch.finfo(dtype).eps, atol=0.0)
    assert (ours != theirs).float().mean() <= 5e-3


def test_gradients_of_float64_pass_gradcheck() -> None:
    gate, up = (torch.randn(2, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(swiglu, (gate, up))


def test_what_does_not_belong_together_is_refused() -> None:
    x = torch.randn(2, 4)
    with pytest.raises(ValueError, match="must agree in shape and dtype"):
        swiglu(x, x[:, :2])
    longer = torch.randn(3, 10)
    for gate, up in ((x, x), (x[:1].expand(2, 4), x), (longer[:, :8], longer[:, 1:9]), (longer[:2], longer[1:])):
        with pytest.raises(ValueError, match="memory of their own"):
            swiglu(gate, up, overwrite=True)


@pytest.mark.parametrize(("shape", "dim"), [((2, 3, 26), -1), ((4, 3, 5), 0), ((0, 8), -1)])
def test_parts_of_one_tensor_may_be_overwritten(shape: tuple[int, ...], dim: int, layer_path: str, device: torch.device) -> None:
    """Side by side, one after the other, and nothing at all."""

    def fast(x: Tensor) -> Tensor:
        gate, up = (x * 1).chunk(2, dim=dim)
        return swiglu(gate, up, overwrite=True)

    assert_agrees(fast, lambda x: swiglu_ref(*x.chunk(2, dim=dim)), [numbers(*shape, device=device)])


def test_rows_of_any_length_take_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are cut into blocks: the 25,600 of a model of 32B are not too long, as they are for a norm."""
    seen = []
    monkeypatch.setattr("twinkle.kernels.swiglu.fits_triton", lambda x, longest_row=MAX_ROW: x.shape[-1] <= longest_row)
    monkeypatch.setattr("twinkle.kernels._swiglu_triton.swiglu_forward", lambda gate, up: seen.append(gate.shape) or gate)  # type: ignore[func-returns-value]
    swiglu(torch.zeros(2, 25_600), torch.zeros(2, 25_600))
    assert seen == [(2, 25_600)]
