"""The gate of a SwiGLU block (Shazeer 2020, arXiv 2002.05202, eq. 6): ``silu(gate) * up``.

With ``s = sigmoid(gate)`` and ``a = gate s``::

    y = a up      d up = dy a      d gate = dy up s (1 + gate (1 - s))

On a GPU, and in float32, only the two inputs are kept for the backward pass, and ``a`` is made again from ``gate`` there; separate
operations keep it as a third tensor. Letters: I, the intermediate size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from twinkle.kernels._first_derivative import once_differentiable
from twinkle.kernels._row import fits_triton


def swiglu(gate: Tensor, up: Tensor, *, overwrite: bool = False) -> Tensor:
    """``silu(gate) * up``, element by element; differentiable in both.

    In lower precisions ``silu(gate)`` is rounded to the dtype before the product, as transformers' modules do it.

    Args:
        gate: ``[..., I]``, float16, bfloat16, float32 or float64, of any strides.
        up: in the shape and dtype of ``gate``.
        overwrite: the backward pass may write into the storage of ``gate`` and ``up`` what it would allocate; the bytes that it moves
            are the same. Safe where nobody reads the two after the backward pass. Autograd is told of it: another backward pass
            through them, or another operation that kept them, raises RuntimeError instead of being wrong.
    """
    if gate.shape != up.shape or gate.dtype != up.dtype:
        raise ValueError(
            f"gate and up must agree in shape and dtype, got {tuple(gate.shape)} {gate.dtype} and {tuple(up.shape)} {up.dtype}"
        )
    if overwrite and gate.numel() > 0 and (_share_elements(gate, up) or 0 in (*gate.stride(), *up.stride())):
        raise ValueError("overwrite needs gate and up in memory of their own, got tensors that share some or an expanded one")
    y: Tensor = _SwiGLU.apply(gate, up, overwrite)  # type: ignore[no-untyped-call]
    return y


def _share_elements(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape may have memory in common. The halves of one projection have not."""
    if one.untyped_storage().data_ptr() != other.untyped_storage().data_ptr():
        return False
    low, high = sorted((one, other), key=Tensor.storage_offset)
    distance, length = high.storage_offset() - low.storage_offset(), low.shape[-1]
    if distance > sum((size - 1) * stride for size, stride in zip(low.shape, low.stride(), strict=True)):
        return False
    row_strides = [stride for size, stride in zip(low.shape[:-1], low.stride(), strict=False) if size > 1]
    lie_side_by_side = low.stride() == high.stride() and low.stride(-1) == 1 and length <= distance
    return not (lie_side_by_side and all(stride >= distance + length for stride in row_strides))


def swiglu_ref(gate: Tensor, up: Tensor) -> Tensor:
    """The same by the formula, in float32 or wider and rounded nowhere."""
    wide = torch.promote_types(gate.dtype, torch.float32)
    return gate.to(wide) * torch.sigmoid(gate.to(wide)) * up.to(wide)


def swiglu_forward(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor | None]:
    """``(silu(gate) * up, silu(gate) or None)`` with torch's own operations.

    The activation is kept in 16-bit dtypes only: making it again costs an exponential a number, in float32 no more than the pass over
    memory that it saves, in 16 bits a third of the backward pass.
    """
    activation = torch.nn.functional.silu(gate)
    if gate.itemsize == 2:
        return activation * up, activation
    return activation.mul_(up), None


def swiglu_backward(g_y: Tensor, gate: Tensor, up: Tensor, activation: Tensor | None, overwrite: bool) -> tuple[Tensor, Tensor]:
    """``(dgate, dup)`` with torch's own operations."""
    g_activation = up.mul_(g_y) if overwrite else up * g_y
    g_up = torch.nn.functional.silu(gate).mul_(g_y) if activation is None else activation * g_y
    g_gate = torch.ops.aten.silu_backward.grad_input(g_activation, gate, grad_input=g_activation)
    return g_gate, g_up


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, overwrite: bool) -> Tensor:
        activation = None
        if fits_triton(gate, longest_row=math.inf):
            from twinkle.kernels import _swiglu_triton

            y = _swiglu_triton.swiglu_forward(gate, up)
        else:
            y, activation = swiglu_forward(gate, up)
        ctx.save_for_backward(gate, up, activation)
        ctx.overwrite = overwrite
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_y: Tensor) -> tuple[Tensor | None, ...]:
        gate, up, activation = ctx.saved_tensors
        if fits_triton(gate, longest_row=math.inf):
            from twinkle.kernels import _swiglu_triton

            g_gate, g_up = _swiglu_triton.swiglu_backward(g_y, gate, up, ctx.overwrite)
        else:
            g_gate, g_up = swiglu_backward(g_y, gate, up, activation, ctx.overwrite)
        if ctx.overwrite:
            torch.autograd.graph.increment_version([gate, up])
        return g_gate, g_up, None
