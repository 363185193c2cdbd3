"""The gate of a SwiGLU block on a GPU: one pass forward over three tensors, one backward over five.

Letters: I, the intermediate size.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from twinkle.kernels._device import on_device_of
from twinkle.kernels._row import fold_rows
from twinkle.kernels._row_triton import row_start
from twinkle.kernels.tuning import launch_for


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(
    gate_ptr: tl.tensor,
    up_ptr: tl.tensor,
    y_ptr: tl.tensor,
    num_cols: tl.tensor,
    sizes: tl.tuple,
    gate_strides: tl.tuple,
    up_strides: tl.tuple,
    y_strides: tl.tuple,
    BLOCK_I: tl.constexpr,
) -> None:
    """``y`` of a block of one row."""
    blocks_per_row = tl.cdiv(num_cols, BLOCK_I)
    row = tl.program_id(0) // blocks_per_row
    cols = (tl.program_id(0) % blocks_per_row).to(tl.int64) * BLOCK_I + tl.arange(0, BLOCK_I)
    inside = cols < num_cols
    gate = tl.load(gate_ptr + row_start(row, sizes, gate_strides) + cols, mask=inside, other=0.0)
    up = tl.load(up_ptr + row_start(row, sizes, up_strides) + cols, mask=inside, other=0.0).to(tl.float32)
    wide_gate = gate.to(tl.float32)
    activation = (wide_gate * tl.sigmoid(wide_gate)).to(gate.dtype).to(tl.float32)
    y_offsets = row_start(row, sizes, y_strides) + cols
    tl.store(y_ptr + y_offsets, (activation * up).to(gate.dtype), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(
    g_y_ptr: tl.tensor,
    gate_ptr: tl.tensor,
    up_ptr: tl.tensor,
    g_gate_ptr: tl.tensor,
    g_up_ptr: tl.tensor,
    num_cols: tl.tensor,
    sizes: tl.tuple,
    g_y_strides: tl.tuple,
    gate_strides: tl.tuple,
    up_strides: tl.tuple,
    g_gate_strides: tl.tuple,
    g_up_strides: tl.tuple,
    BLOCK_I: tl.constexpr,
) -> None:
    """``dgate`` and ``dup`` of a block of one row; they may be ``gate`` and ``up``, since every number is read before it is written."""
    blocks_per_row = tl.cdiv(num_cols, BLOCK_I)
    row = tl.program_id(0) // blocks_per_row
    cols = (tl.program_id(0) % blocks_per_row).to(tl.int64) * BLOCK_I + tl.arange(0, BLOCK_I)
    inside = cols < num_cols
    g_y = tl.load(g_y_ptr + row_start(row, sizes, g_y_strides) + cols, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(gate_ptr + row_start(row, sizes, gate_strides) + cols, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(up_ptr + row_start(row, sizes, up_strides) + cols, mask=inside, other=0.0).to(tl.float32)
    s = tl.sigmoid(gate)
    activation = gate * s
    g_gate = g_y * up * (s + activation * (1.0 - s))
    g_up = g_y * activation
    g_gate_offsets = row_start(row, sizes, g_gate_strides) + cols
    g_up_offsets = row_start(row, sizes, g_up_strides) + cols
    tl.store(g_gate_ptr + g_gate_offsets, g_gate.to(g_gate_ptr.dtype.element_ty), mask=inside)
    tl.store(g_up_ptr + g_up_offsets, g_up.to(g_up_ptr.dtype.element_ty), mask=inside)


def swiglu_forward(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up``."""
    y = torch.empty_like(gate)
    if gate.numel() == 0:
        return y
    launch = launch_for("swiglu", gate.shape[-1], gate.device)
    num_cols, sizes, tensors, strides = _fold(gate, up, y)
    grid = (math.prod(sizes) * triton.cdiv(num_cols, launch.blocks["BLOCK_I"]),)
    with on_device_of(gate):
        _forward_kernel[grid](*tensors, num_cols, sizes, *strides, **launch.options)
    return tensors[2]


def swiglu_backward(g_y: Tensor, gate: Tensor, up: Tensor, overwrite: bool) -> tuple[Tensor, Tensor]:
    """``(dgate, dup)``, with ``overwrite`` in the storage of ``gate`` and ``up``."""
    g_gate, g_up = (gate, up) if overwrite else (torch.empty_like(gate), torch.empty_like(up))
    if gate.numel() == 0:
        return g_gate, g_up
    launch = launch_for("swiglu", gate.shape[-1], gate.device)
    num_cols, sizes, tensors, strides = _fold(g_y, gate, up, g_gate, g_up)
    grid = (math.prod(sizes) * triton.cdiv(num_cols, launch.blocks["BLOCK_I"]),)
    with on_device_of(gate):
        _backward_kernel[grid](*tensors, num_cols, sizes, *strides, **launch.options)
    return tensors[3], tensors[4]


def _fold(*tensors: Tensor) -> tuple[int, tuple[int, int, int], list[Tensor], list[tuple[int, int, int]]]:
    """Length of a row, sizes of the leading dims, tensors and strides. Contiguous tensors are one row, so no block is half empty."""
    sizes, rows, strides = fold_rows(*tensors)
    if all(t.is_contiguous() for t in rows):
        return rows[0].numel(), (1, 1, 1), rows, [(0, 0, 0)] * len(rows)
    return rows[0].shape[-1], sizes, rows, strides
