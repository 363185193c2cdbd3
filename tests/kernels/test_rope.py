"""Rotation of queries and keys, alone and after their norm, equals the formula in float64 and transformers' modules in their precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from float64_check import assert_agrees
from torch import Tensor
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, apply_rotary_pos_emb

from twinkle.kernels.qk_norm_rope import qk_norm_rope, qk_norm_rope_ref
from twinkle.kernels.rope import rope, rope_ref

pytestmark = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")  # on a GPU, at the first compilation

SIZES = [  # sequences, query heads, key heads, tokens, numbers of a head, of them rotated
    (1, 1, 1, 1, 2, 2),
    (1, 3, 1, 1, 6, 6),
    (2, 2, 1, 3, 10, 10),
    (2, 3, 1, 2, 12, 4),
    (1, 2, 2, 4, 80, 80),
    (3, 1, 1, 2, 7, 6),
]
SMALL = (1, 2, 1, 2, 6, 4)
"""What the interpreter takes half a second for, where a test is of something else than shapes."""
Function = Callable[..., tuple[Tensor, Tensor]]


def numbers(*shape: int, dtype: torch.dtype = torch.float32, device: torch.device, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def heads(b: int, s: int, t: int, d: int, device: torch.device, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """As a projection lays them out."""
    return numbers(b, t, s, d, device=device, dtype=dtype, seed=seed).transpose(1, 2)


def angles(b: int, t: int, r: int, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Of packed positions; both halves differ, which no model has, so that one cannot stand for the other."""
    turns = numbers(b, t, r, device=device, seed=7)
    return turns.cos().to(dtype), turns.sin().to(dtype)


def both(cos: Tensor, sin: Tensor) -> tuple[Function, Function]:
    return (lambda q, k: rope(q, k, cos, sin)), (lambda q, k: (rope_ref(q, cos, sin), rope_ref(k, cos, sin)))


def both_normed(cos: Tensor, sin: Tensor, offset: float = 0.0) -> tuple[Function, Function]:
    def fast(q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor) -> tuple[Tensor, Tensor]:
        return qk_norm_rope(q, k, q_weight, k_weight, cos, sin, 0.1, offset=offset)

    def reference(q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor) -> tuple[Tensor, Tensor]:
        return qk_norm_rope_ref(q, k, q_weight, k_weight, cos, sin, 0.1, offset=offset)

    return fast, reference


def inputs(size: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    b, q_heads, k_heads, t, d, _ = size
    weights = [numbers(d, device=device, dtype=dtype, seed=s) for s in (3, 4)]
    return [heads(b, q_heads, t, d, device, dtype, 1), heads(b, k_heads, t, d, device, dtype, 2), *weights]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_equal_the_formula(size: tuple[int, ...], shared: bool, layer_path: str, device: torch.device) -> None:
    cos, sin = angles(1 if shared else size[0], size[3], size[5], device)
    assert_agrees(*both(cos, sin), inputs(size, device)[:2])


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_with_the_norm_they_do_too(size: tuple[int, ...], offset: float, layer_path: str, device: torch.device) -> None:
    assert_agrees(*both_normed(*angles(size[0], size[3], size[5], device), offset), inputs(size, device))


def test_frozen_weights_get_no_gradient(layer_path: str, device: torch.device) -> None:
    for frozen in ([2, 3], [2], [3]):
        assert_agrees(*both_normed(*angles(1, 2, 4, device)), inputs(SMALL, device), frozen=frozen)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lower_precisions_stay_within_their_rounding(dtype: torch.dtype, layer_path: str, device: torch.device) -> None:
    cos, sin = angles(1, 2, 4, device, dtype)
    tensors = inputs(SMALL, device, dtype)
    assert_agrees(*both(cos, sin), tensors[:2])
    assert_agrees(*both_normed(cos, sin), tensors)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_may_be_wider_than_heads(dtype: torch.dtype, offset: float, layer_path: str, device: torch.device) -> None:
    """As under autocast: both, or one of them; part of the head does not turn."""
    b, _, _, t, d, r = SMALL
    q, k, q_weight, k_weight = inputs(SMALL, device, dtype)
    wide_q, wide_k = (numbers(d, device=device, seed=s) for s in (3, 4))
    functions = both_normed(*angles(b, t, r, device), offset)
    for weights in ((wide_q, wide_k), (wide_q, k_weight), (q_weight, wide_k)):
        assert_agrees(*functions, [q, k, *weights])
        for found, weight in zip(functions[0](q, k, *weights), weights, strict=True):
            assert found.dtype == (weight.dtype if offset == 0.0 else dtype)


def test_any_strides_are_taken(layer_path: str, device: torch.device) -> None:
    """Contiguous by head, parts of one projection, every second number, and angles that are parts of a table."""
    fused = numbers(2, 2, 3, 12, device=device).transpose(1, 2)
    table = numbers(2, 4, 24, device=device, seed=5)
    cos, sin = table[:, ::2, :12].cos(), table[:, 1::2, 12:].sin()
    weights = [numbers(12, device=device, seed=s) for s in (3, 4)]
    queries = [numbers(2, 2, 2, 12, device=device), fused[:, :2], numbers(2, 2, 2, 24, device=device)[..., ::2]]
    for q in queries:
        assert_agrees(*both(cos, sin), [q, fused[:, 2:]])
        assert_agrees(*both_normed(cos, sin), [q, fused[:, 2:], *weights])
    spread = table[:, :2].transpose(1, 2)[:, ::2][..., None].expand(2, 12, 2, 2)[..., 0].transpose(1, 2)
    assert_agrees(*both(spread, spread), [queries[0], fused[:, 2:]])


def test_no_tokens_give_no_tokens(layer_path: str, device: torch.device) -> None:
    empty = (1, 2, 1, 0, 4, 4)
    cos, sin = angles(1, 0, 4, device)
    assert_agrees(*both(cos, sin), inputs(empty, device)[:2])
    assert_agrees(*both_normed(cos, sin), inputs(empty, device))


def test_the_results_keep_the_layout_of_the_projection(layer_path: str, device: torch.device) -> None:
    """So that attention that wants tokens before heads finds them so."""
    q, k, *weights = inputs(SIZES[2], device)
    cos, sin = angles(2, 3, 10, device)
    for results in (rope(q, k, cos, sin), qk_norm_rope(q, k, *weights, cos, sin, 0.1)):
        assert [x.stride() for x in results] == [q.stride(), k.stride()]


def test_a_bfloat16_model_sees_the_numbers_of_its_own_modules(layer_path: str, device: torch.device) -> None:
    """The modules round both products before they add them, here only the result is rounded: four roundings of sizes up to 4 apart."""
    size = (2, 2, 1, 5, 16, 16)
    q, k, q_weight, k_weight = inputs(size, device, torch.bfloat16)
    norms = [Qwen3RMSNorm(16, eps=1e-6).to(device, torch.bfloat16) for _ in range(2)]
    norms[0].weight.data, norms[1].weight.data = q_weight, k_weight
    half = angles(2, 5, 8, device, torch.bfloat16)
    cos, sin = (torch.cat([x, x], dim=-1) for x in half)
    pairs = (
        (rope(q, k, cos, sin), apply_rotary_pos_emb(q, k, cos, sin)),
        (qk_norm_rope(q, k, q_weight, k_weight, cos, sin, 1e-6), apply_rotary_pos_emb(norms[0](q), norms[1](k), cos, sin)),
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=4 * 2**-7)


def test_under_autocast_a_model_sees_the_numbers_of_its_own_modules(layer_path: str, device: torch.device) -> None:
    """Weights and angles in float32: the normalised heads are rounded to their own 16 bits, and nothing is after that. Equal to float32's
    last places but where the inverse root, summed in another order, falls on the other side of that rounding: 1 in 100 at most."""
    # Triton's interpreter truncates to bfloat16 where a GPU rounds.
    dtype = torch.float16 if layer_path == "triton" and device.type == "cpu" else torch.bfloat16
    q, k = (heads(1, s, 7, 16, device, dtype, s) for s in (2, 1))
    norms = [Qwen3RMSNorm(16, eps=1e-6).to(device) for _ in range(2)]
    for seed, norm in enumerate(norms):
        norm.weight.data = numbers(16, device=device, seed=seed)
    cos, sin = (torch.cat([x, x], dim=-1) for x in angles(1, 7, 8, device))
    ours = qk_norm_rope(q, k, norms[0].weight, norms[1].weight, cos, sin, 1e-6)
    theirs = apply_rotary_pos_emb(norms[0](q), norms[1](k), cos, sin)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert ((one - other).abs() > 1e-6 * (1 + other.abs())).float().mean() <= 0.01
        torch.testing.assert_close(one, other, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_gradients_of_float64_pass_gradcheck() -> None:
    q, k = (torch.randn(2, s, 3, 6, dtype=torch.float64, requires_grad=True) for s in (2, 1))
    weights = [torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    cos, sin = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q, k: rope(q, k, cos, sin), (q, k))
    assert torch.autograd.gradcheck(lambda q, k, *w: qk_norm_rope(q, k, *w, cos, sin, 0.1), (q, k, *weights))


def test_what_does_not_belong_together_is_refused() -> None:
    q, k, cos = torch.randn(2, 3, 5, 8), torch.randn(2, 1, 5, 8), torch.randn(2, 5, 8)
    with pytest.raises(ValueError, match="agree in all but their heads"):
        rope(q, k[:, :, :4], cos, cos)
    for wrong in (cos[:, :4], cos[..., :7], cos[..., :0], torch.randn(2, 5, 10), torch.randn(3, 5, 8)):
        with pytest.raises(ValueError, match=r"cos and sin must be \[2 or 1, 5, an even number up to 8\]"):
            rope(q, k, wrong, wrong)
    with pytest.raises(ValueError, match="constants of the rotation"):
        rope(q, k, cos.clone().requires_grad_(), cos)
    with pytest.raises(ValueError, match=r"k_weight must be \(8,\), as long as a head, got \(1,\)"):
        qk_norm_rope(q, k, torch.ones(8), torch.ones(1), cos, cos, 0.1)
