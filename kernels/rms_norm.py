"""Root-mean-square normalisation of rows (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4), alone and after the addition of a residual.

With ``r_n = 1 / sqrt(mean_h x_nh^2 + eps)``, ``n = x r`` and ``g = dy (weight + offset)``::

    y = n (weight + offset)      dx = r (g - n mean_h(g n))      dweight = sum over rows of dy n

Between forward and backward only the input and ``r_n``, a number a row, are kept; separate operations keep three tensors of the input's
size. All arithmetic is in float32 or wider, and numbers are rounded where transformers' modules round them, so that a model in bfloat16
does not notice the exchange:

- ``offset == 0``, the convention of LlamaRMSNorm and Qwen3RMSNorm: ``n`` is rounded to the input's dtype, then multiplied by the weight
- ``offset != 0``, the convention of GemmaRMSNorm and Qwen3-Next, whose weights are stored less one: rounded once, at the end

Gradients are not rounded on the way. Letters: N rows, H their length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from twinkle.kernels._first_derivative import once_differentiable
from twinkle.kernels._row import fits_triton


def rms_norm(x: Tensor, weight_H: Tensor, eps: float, *, offset: float = 0.0) -> Tensor:
    """``x / rms(x) * (weight + offset)`` over the last dim; differentiable in ``x`` and the weight.

    Args:
        x: ``[..., H]``, float16, bfloat16, float32 or float64, of any strides.
        offset: what the stored weight lacks: 1 for Gemma.

    Returns:
        In the shape of ``x``; in its dtype, or the wider of its and the weight's where ``offset`` is 0.
    """
    _check_weight(x, weight_H)
    y: Tensor = _RMSNorm.apply(x, weight_H, eps, offset)  # type: ignore[no-untyped-call]
    return y


def add_rms_norm(x: Tensor, residual: Tensor, weight_H: Tensor, eps: float, *, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """``(rms_norm(x + residual), x + residual)`` in one pass: what stands between two blocks of a decoder layer."""
    _check_weight(x, weight_H)
    if x.shape != residual.shape or x.dtype != residual.dtype:
        raise ValueError(
            f"x and residual must agree in shape and dtype, got {tuple(x.shape)} {x.dtype} and {tuple(residual.shape)} {residual.dtype}"
        )
    y, total = _AddRMSNorm.apply(x, residual, weight_H, eps, offset)  # type: ignore[no-untyped-call]
    return y, total


def rms_norm_ref(x: Tensor, weight_H: Tensor, eps: float, *, offset: float = 0.0) -> Tensor:
    """The same by the formula, in float32 or wider and rounded nowhere: what the fast paths must equal."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.to(wide) * torch.rsqrt(x.to(wide).square().mean(-1, keepdim=True) + eps) * (weight_H.to(wide) + offset)


def add_rms_norm_ref(x: Tensor, residual: Tensor, weight_H: Tensor, eps: float, *, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """The same from a sum in float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    total = x.to(wide) + residual.to(wide)
    return rms_norm_ref(total, weight_H, eps, offset=offset), total


def rms_norm_forward(x: Tensor, weight_H: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor]:
    """``(y, r)`` with torch's own operations: three passes over ``x``, and only ``y`` is allocated in its size."""
    wide = torch.promote_types(x.dtype, torch.float32)
    wide_x = x.to(wide)
    r = torch.linalg.vector_norm(wide_x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    normed = wide_x * r if wide_x is x else wide_x.mul_(r)
    if offset != 0.0:
        return normed.mul_(weight_H.to(wide) + offset).to(x.dtype), r
    rounded = normed.to(x.dtype)
    return (rounded.mul_(weight_H) if weight_H.dtype == x.dtype else rounded * weight_H), r


def rms_norm_backward(
    g_y: Tensor, x: Tensor, weight_H: Tensor, r: Tensor, offset: float, g_total: Tensor | None, needs_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """``(dx, dweight)``, with ``g_total`` added to the first; no ``dweight`` for a weight that is not trained."""
    wide = r.dtype
    wide_x, g_normed = x.to(wide), g_y.to(wide)
    scale_H = weight_H.to(wide) + offset if offset != 0.0 else weight_H.to(wide)
    g_weight_H = None
    if needs_weight:
        product = (g_normed * wide_x).mul_(r)
        g_weight_H = _sum_rows(product).to(weight_H.dtype)
        mean = product.mul_(scale_H).sum(-1, keepdim=True).mul_(r).div_(x.shape[-1])
        g_x = torch.mul(g_normed, scale_H, out=product)
    else:
        g_x = g_normed * scale_H
        mean = (g_x * wide_x).sum(-1, keepdim=True).mul_(r).mul_(r).div_(x.shape[-1])
    # dx = r (g - x r mean(g n)); here ``mean`` already holds r mean(g n).
    g_x.addcmul_(wide_x, mean, value=-1).mul_(r)
    if g_total is not None:
        g_x += g_total
    return g_x.to(x.dtype), g_weight_H


def _sum_rows(x: Tensor) -> Tensor:
    # Not by flattening first, which copies a transposed tensor; a single row has no dims to sum over, and no dims would mean all.
    return x.sum(tuple(range(x.dim() - 1))) if x.dim() > 1 else x.clone()


def _check_weight(x: Tensor, weight_H: Tensor) -> None:
    if weight_H.shape != x.shape[-1:]:
        raise ValueError(f"weight must be {tuple(x.shape[-1:])}, as long as the last dim of x, got {tuple(weight_H.shape)}")


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_H: Tensor, eps: float, offset: float) -> Tensor:
        if fits_triton(x):
            from twinkle.kernels import _rms_norm_triton

            y, r = _rms_norm_triton.rms_norm_forward(x, weight_H, eps, offset)
        else:
            y, r = rms_norm_forward(x, weight_H, eps, offset)
        ctx.save_for_backward(x, weight_H, r)
        ctx.offset = offset
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_H, r = ctx.saved_tensors
        g_x, g_weight_H = _backward(g_y, x, weight_H, r, ctx.offset, None, ctx.needs_input_grad[1])
        return g_x, g_weight_H, None, None


class _AddRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor, weight_H: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor]:
        if fits_triton(x):
            from twinkle.kernels import _rms_norm_triton

            y, total, r = _rms_norm_triton.add_rms_norm_forward(x, residual, weight_H, eps, offset)
        else:
            total = x + residual
            y, r = rms_norm_forward(total, weight_H, eps, offset)
        ctx.save_for_backward(total, weight_H, r)
        ctx.offset = offset
        ctx.set_materialize_grads(False)  # of two outputs one may lead nowhere
        return y, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_y: Tensor | None, g_total: Tensor | None) -> tuple[Tensor | None, ...]:
        total, weight_H, r = ctx.saved_tensors
        if g_y is None:
            return g_total, g_total, None, None, None
        g_x, g_weight_H = _backward(g_y, total, weight_H, r, ctx.offset, g_total, ctx.needs_input_grad[2])
        return g_x, g_x, g_weight_H, None, None


def _backward(
    g_y: Tensor, x: Tensor, weight_H: Tensor, r: Tensor, offset: float, g_total: Tensor | None, needs_weight: bool
) -> tuple[Tensor, Tensor | None]:
    if fits_triton(x):
        from twinkle.kernels import _rms_norm_triton

        return _rms_norm_triton.rms_norm_backward(g_y, x, weight_H, r, offset, g_total, needs_weight)
    return rms_norm_backward(g_y, x, weight_H, r, offset, g_total, needs_weight)
