"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864, eq. 34) of queries and keys, in the layout of transformers' models.

Of a head ``x = (x1, x2, rest)``, where ``x1`` and ``x2`` are the halves of the ``R`` numbers that turn and ``rest`` does not::

    x' = (x1 cos1 - x2 sin1, x2 cos2 + x1 sin2, rest)

A rotation is linear, so its backward pass is the transposed rotation of the gradient: the same formula with ``-sin2, -sin1`` for
``sin1, sin2``; nothing but cosines and sines is kept. A GPU sums the products in float32 and rounds once, to the dtype of ``x``; torch's
operations round the first product too.

Letters: B sequences, S heads, T tokens, D numbers of a head, R of them rotated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from twinkle.kernels._first_derivative import once_differentiable
from twinkle.kernels._row import fits_triton


def rope(q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> tuple[Tensor, Tensor]:
    """``(q', k')``, rotated by the angles of each token; differentiable in ``q`` and ``k``.

    Args:
        q_BSTD: ``[B, query heads, T, D]``, any strides.
        k_BSTD: ``[B, key heads, T, D]``, in the dtype of ``q``.
        cos_BTR: ``[B or 1, T, R]``, ``R`` even and at most ``D``: whatever positions a token has, packed ones too. Constants.
        sin_BTR: likewise.
    """
    check_rotation(q_BSTD, k_BSTD, cos_BTR, sin_BTR)
    q_out, k_out = _Rope.apply(q_BSTD, k_BSTD, cos_BTR, sin_BTR)  # type: ignore[no-untyped-call]
    return q_out, k_out


def rope_ref(x_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> Tensor:
    """The rotation of queries or keys by the formula, in float32 or wider and rounded nowhere."""
    wide = torch.promote_types(x_BSTD.dtype, torch.float32)
    size = cos_BTR.shape[-1]
    cos, sin = cos_BTR.to(wide).unsqueeze(1), sin_BTR.to(wide).unsqueeze(1)
    turning, rest = x_BSTD[..., :size].to(wide), x_BSTD[..., size:].to(wide)
    first, second = turning.chunk(2, dim=-1)
    return torch.cat([turning * cos + torch.cat([-second, first], dim=-1) * sin, rest], dim=-1)


def rotate(x_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> Tensor:
    """The rotation with torch's own operations: two passes, no ``rotate_half`` in memory; in the strides of ``x``."""
    size = cos_BTR.shape[-1]
    half = size // 2
    cos, sin = cos_BTR.unsqueeze(1), sin_BTR.unsqueeze(1)
    out = torch.empty_like(x_BSTD)
    torch.mul(x_BSTD[..., :size], cos, out=out[..., :size])
    out[..., :half].addcmul_(x_BSTD[..., half:size], sin[..., :half], value=-1)
    out[..., half:size].addcmul_(x_BSTD[..., :half], sin[..., half:])
    if size < x_BSTD.shape[-1]:
        out[..., size:] = x_BSTD[..., size:]
    return out


def transposed_sin(sin_BTR: Tensor) -> Tensor:
    """The sines with which :func:`rotate` is its own transpose."""
    return sin_BTR.roll(sin_BTR.shape[-1] // 2, dims=-1).neg_()


def check_rotation(q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> None:
    """Refuses what the rotation would broadcast or drop in silence.

    Raises:
        ValueError: shapes or dtypes that do not belong together, or angles that want a gradient.
    """
    b, _, t, d = q_BSTD.shape
    if (k_BSTD.shape[0], *k_BSTD.shape[2:]) != (b, t, d) or k_BSTD.dtype != q_BSTD.dtype:
        raise ValueError(
            f"q and k must agree in all but their heads, got {tuple(q_BSTD.shape)} {q_BSTD.dtype} and {tuple(k_BSTD.shape)} {k_BSTD.dtype}"
        )
    size = cos_BTR.shape[-1]
    if cos_BTR.shape != sin_BTR.shape or tuple(cos_BTR.shape) not in ((b, t, size), (1, t, size)) or size > d or size % 2 or size == 0:
        raise ValueError(
            f"cos and sin must be [{b} or 1, {t}, an even number up to {d}], got {tuple(cos_BTR.shape)} and {tuple(sin_BTR.shape)}"
        )
    if cos_BTR.requires_grad or sin_BTR.requires_grad:
        raise ValueError("cos and sin are constants of the rotation; detach them, or use rope_ref, which is differentiable in them")


class _Rope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos_BTR, sin_BTR)
        return _rotate_both(q_BSTD, k_BSTD, cos_BTR, sin_BTR, transposed=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_q_BSTD: Tensor, g_k_BSTD: Tensor) -> tuple[Tensor | None, ...]:
        cos_BTR, sin_BTR = ctx.saved_tensors
        return *_rotate_both(g_q_BSTD, g_k_BSTD, cos_BTR, sin_BTR, transposed=True), None, None


def _rotate_both(q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor, *, transposed: bool) -> tuple[Tensor, Tensor]:
    if fits_triton(q_BSTD):
        from twinkle.kernels import _rope_triton

        return _rope_triton.rope(q_BSTD, k_BSTD, cos_BTR, sin_BTR, transposed=transposed)
    sin = transposed_sin(sin_BTR) if transposed else sin_BTR
    return rotate(q_BSTD, cos_BTR, sin), rotate(k_BSTD, cos_BTR, sin)
