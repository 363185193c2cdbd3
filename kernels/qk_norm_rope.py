"""Normalisation of each head of queries and keys, then their rotation, in one pass: what Qwen3 does before attention.

``q' = rope(rms_norm(q, q_weight), cos, sin)`` and the same of ``k``; formulas and rounding are those of :mod:`twinkle.kernels.rms_norm` and
:mod:`twinkle.kernels.rope`. Kept for the backward pass: ``q``, ``k`` and a number a head and token; what lies between the two steps is not.

Letters: B sequences, S heads, T tokens, D numbers of a head, R of them rotated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from twinkle.kernels._first_derivative import once_differentiable
from twinkle.kernels._row import fits_triton
from twinkle.kernels.rms_norm import rms_norm_backward, rms_norm_forward, rms_norm_ref
from twinkle.kernels.rope import check_rotation, rope_ref, rotate, transposed_sin


def qk_norm_rope(
    q_BSTD: Tensor,
    k_BSTD: Tensor,
    q_weight_D: Tensor,
    k_weight_D: Tensor,
    cos_BTR: Tensor,
    sin_BTR: Tensor,
    eps: float,
    *,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """``(q', k')``, normalised and rotated; differentiable in ``q``, ``k`` and the weights.

    Args:
        q_BSTD: ``[B, query heads, T, D]``, any strides: the transposed view of a projection's output is what models have.
        k_BSTD: ``[B, key heads, T, D]``, in the dtype of ``q``.
        q_weight_D: of any dtype, as is ``k_weight_D``: under autocast they are wider than ``q``.
        cos_BTR: ``[B or 1, T, R]``, ``R`` even and at most ``D``: whatever positions a token has, packed ones too. Constants.
        sin_BTR: likewise.
        offset: what the stored weights lack: 1 for Qwen3-Next.

    Returns:
        In the shapes and layouts of ``q`` and ``k``; in their dtype, or the wider of theirs and the weight's where ``offset`` is 0.
    """
    check_rotation(q_BSTD, k_BSTD, cos_BTR, sin_BTR)
    for name, weight_D in (("q_weight", q_weight_D), ("k_weight", k_weight_D)):
        if weight_D.shape != q_BSTD.shape[-1:]:
            raise ValueError(f"{name} must be ({q_BSTD.shape[-1]},), as long as a head, got {tuple(weight_D.shape)}")
    q_out, k_out = _QKNormRope.apply(  # type: ignore[no-untyped-call]
        q_BSTD, k_BSTD, q_weight_D, k_weight_D, cos_BTR, sin_BTR, eps, offset
    )
    return q_out, k_out


def qk_norm_rope_ref(
    q_BSTD: Tensor,
    k_BSTD: Tensor,
    q_weight_D: Tensor,
    k_weight_D: Tensor,
    cos_BTR: Tensor,
    sin_BTR: Tensor,
    eps: float,
    *,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The same by the formulas, in float32 or wider and rounded nowhere."""
    return (
        rope_ref(rms_norm_ref(q_BSTD, q_weight_D, eps, offset=offset), cos_BTR, sin_BTR),
        rope_ref(rms_norm_ref(k_BSTD, k_weight_D, eps, offset=offset), cos_BTR, sin_BTR),
    )


class _QKNormRope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, eps: float, offset: float
    ) -> tuple[Tensor, Tensor]:
        if fits_triton(q):
            from twinkle.kernels._qk_norm_rope_triton import qk_norm_rope_forward

            q_out, k_out, q_r, k_r = qk_norm_rope_forward(q, k, q_weight, k_weight, cos, sin, eps, offset)
        else:
            q_normed, q_r = rms_norm_forward(q, q_weight, eps, offset)
            q_out = rotate(q_normed, cos, sin)
            k_normed, k_r = rms_norm_forward(k, k_weight, eps, offset)
            k_out = rotate(k_normed, cos, sin)
        ctx.save_for_backward(q, k, q_weight, k_weight, cos, sin, q_r, k_r)
        ctx.offset = offset
        return q_out, k_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_q: Tensor, g_k: Tensor) -> tuple[Tensor | None, ...]:
        q, k, q_weight, k_weight, cos, sin, q_r, k_r = ctx.saved_tensors
        needs_weight = ctx.needs_input_grad[2], ctx.needs_input_grad[3]
        if fits_triton(q):
            from twinkle.kernels._qk_norm_rope_triton import qk_norm_rope_backward

            gradients = qk_norm_rope_backward(g_q, g_k, q, k, q_weight, k_weight, cos, sin, q_r, k_r, ctx.offset, any(needs_weight))
            return *gradients, None, None, None, None
        sin = transposed_sin(sin)
        g_q, g_q_weight = rms_norm_backward(rotate(g_q, cos, sin), q, q_weight, q_r, ctx.offset, None, needs_weight[0])
        g_k, g_k_weight = rms_norm_backward(rotate(g_k, cos, sin), k, k_weight, k_r, ctx.offset, None, needs_weight[1])
        return g_q, g_k, g_q_weight, g_k_weight, None, None, None, None
