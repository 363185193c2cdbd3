"""Root-mean-square normalisation on a GPU: each row is read once, and a program keeps whole rows in registers.

Forward reads and writes ``x`` and ``y``, and a sum of two on the way where there is a residual. Backward reads ``x`` and ``dy`` once and
writes ``dx``. A weight that is trained makes a program go over many rows, with its part of ``dweight`` in registers, and write that once;
one reduction over the programs ends it. With a frozen weight every tile of rows has a program of its own.

Letters: N rows, H their length.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from twinkle.kernels._device import on_device_of
from twinkle.kernels._row import fold_rows
from twinkle.kernels._row_triton import num_sharing_programs, row_start
from twinkle.kernels.tuning import launch_for


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(
    x_ptr: tl.tensor,
    residual_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    y_ptr: tl.tensor,
    total_ptr: tl.tensor,
    r_ptr: tl.tensor,
    sizes: tl.tuple,
    x_strides: tl.tuple,
    residual_strides: tl.tuple,
    y_strides: tl.tuple,
    num_cols: tl.tensor,
    eps: tl.tensor,
    offset: tl.tensor,
    WITH_OFFSET: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_H: tl.constexpr,
) -> None:
    """``y`` and ``r`` of a tile of rows; with a residual also their sum, laid out as ``y``, and normalised as it is rounded."""
    num_rows = sizes[0] * sizes[1] * sizes[2]
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    cols = tl.arange(0, BLOCK_H)
    is_row, is_col = rows < num_rows, cols < num_cols
    inside = is_row[:, None] & is_col[None, :]
    rounded = tl.load(x_ptr + row_start(rows, sizes, x_strides)[:, None] + cols[None, :], mask=inside, other=0.0)
    y_offsets = row_start(rows, sizes, y_strides)[:, None] + cols[None, :]
    if residual_ptr is not None:
        residual_offsets = row_start(rows, sizes, residual_strides)[:, None] + cols[None, :]
        residual = tl.load(residual_ptr + residual_offsets, mask=inside, other=0.0)
        rounded = (rounded.to(tl.float32) + residual.to(tl.float32)).to(rounded.dtype)
        tl.store(total_ptr + y_offsets, rounded, mask=inside)
    x = rounded.to(tl.float32)
    r = tl.rsqrt(tl.sum(x * x, axis=1) / num_cols + eps)
    tl.store(r_ptr + rows, r, mask=is_row)
    scale = tl.load(weight_ptr + cols, mask=is_col, other=0.0).to(tl.float32)
    normed = x * r[:, None]
    if WITH_OFFSET:
        scale += offset
    else:
        normed = normed.to(rounded.dtype).to(tl.float32)
    tl.store(y_ptr + y_offsets, (normed * scale[None, :]).to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(
    g_y_ptr: tl.tensor,
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    r_ptr: tl.tensor,
    g_total_ptr: tl.tensor,
    g_x_ptr: tl.tensor,
    g_weight_ptr: tl.tensor,
    sizes: tl.tuple,
    g_y_strides: tl.tuple,
    x_strides: tl.tuple,
    g_total_strides: tl.tuple,
    g_x_strides: tl.tuple,
    num_cols: tl.tensor,
    offset: tl.tensor,
    BLOCK_N: tl.constexpr,
    BLOCK_H: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:
    """``dx`` of every tile of this program; with ``g_weight`` the sum of its rows of ``dy n`` too, in row ``program`` of it."""
    num_rows = sizes[0] * sizes[1] * sizes[2]
    program = tl.program_id(0)
    num_programs = tl.num_programs(0)
    cols = tl.arange(0, BLOCK_H)
    is_col = cols < num_cols
    scale = tl.load(weight_ptr + cols, mask=is_col, other=0.0).to(tl.float32) + offset
    # Summed over the rows of a tile at the end: no exchange between threads while rows stream by.
    g_weight = tl.zeros([BLOCK_N, BLOCK_H], dtype=tl.float32)
    for tile in tl.range(program, tl.cdiv(num_rows, BLOCK_N), num_programs, num_stages=STAGES):
        rows = tile * BLOCK_N + tl.arange(0, BLOCK_N)
        is_row = rows < num_rows
        inside = is_row[:, None] & is_col[None, :]
        x_offsets = row_start(rows, sizes, x_strides)[:, None] + cols[None, :]
        g_y_offsets = row_start(rows, sizes, g_y_strides)[:, None] + cols[None, :]
        x = tl.load(x_ptr + x_offsets, mask=inside, other=0.0).to(tl.float32)
        g_y = tl.load(g_y_ptr + g_y_offsets, mask=inside, other=0.0).to(tl.float32)
        r = tl.load(r_ptr + rows, mask=is_row, other=0.0)[:, None]
        normed = x * r
        g_normed = g_y * scale[None, :]
        mean = tl.sum(g_normed * normed, axis=1)[:, None] / num_cols
        g_x = r * (g_normed - normed * mean)
        if g_total_ptr is not None:
            g_total_offsets = row_start(rows, sizes, g_total_strides)[:, None] + cols[None, :]
            g_x += tl.load(g_total_ptr + g_total_offsets, mask=inside, other=0.0).to(tl.float32)
        g_x_offsets = row_start(rows, sizes, g_x_strides)[:, None] + cols[None, :]
        tl.store(g_x_ptr + g_x_offsets, g_x.to(g_x_ptr.dtype.element_ty), mask=inside)
        if g_weight_ptr is not None:
            g_weight += g_y * normed
    if g_weight_ptr is not None:
        tl.store(g_weight_ptr + program * num_cols + cols, tl.sum(g_weight, axis=0), mask=is_col)


def rms_norm_forward(x: Tensor, weight_H: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor]:
    """``(y, r)``: ``r`` in float32, ``[..., 1]``."""
    y, _, r = _forward(x, None, weight_H, eps, offset)
    return y, r


def add_rms_norm_forward(x: Tensor, residual: Tensor, weight_H: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor, Tensor]:
    """``(y, x + residual, r)``."""
    return _forward(x, residual, weight_H, eps, offset)


def rms_norm_backward(
    g_y: Tensor,
    x: Tensor,
    weight_H: Tensor,
    r: Tensor,
    offset: float,
    g_total: Tensor | None,
    needs_weight: bool,
) -> tuple[Tensor, Tensor | None]:
    """``(dx, dweight)``, with ``g_total`` added to the first; no ``dweight`` for a weight that is not trained."""
    g_x = torch.empty_like(x)
    if x.numel() == 0:
        return g_x, torch.zeros_like(weight_H) if needs_weight else None
    num_cols = x.shape[-1]
    launch = launch_for("rms_norm", num_cols, x.device)
    sizes, rows, strides = fold_rows(x, g_y, x if g_total is None else g_total, g_x)
    num_programs = num_tiles = triton.cdiv(math.prod(sizes), launch.blocks["BLOCK_N"])
    parts = None
    if needs_weight:
        num_programs = num_sharing_programs(num_tiles, x.device)
        parts = torch.empty(num_programs, num_cols, dtype=torch.float32, device=x.device)
    with on_device_of(x):
        _backward_kernel[(num_programs,)](
            rows[1],
            rows[0],
            weight_H.contiguous(),
            r,
            None if g_total is None else rows[2],
            rows[3],
            parts,
            sizes,
            strides[1],
            strides[0],
            strides[2],
            strides[3],
            num_cols,
            offset,
            BLOCK_H=triton.next_power_of_2(num_cols),
            STAGES=launch.num_stages if needs_weight else 1,  # a single tile has nothing to load ahead
            **launch.options,
        )
    return rows[3], None if parts is None else parts.sum(0).to(weight_H.dtype)


def _forward(x: Tensor, residual: Tensor | None, weight_H: Tensor, eps: float, offset: float) -> tuple[Tensor, Tensor, Tensor]:
    total = x if residual is None else torch.empty_like(x)
    y = torch.empty_like(total, dtype=x.dtype if offset != 0.0 else torch.promote_types(x.dtype, weight_H.dtype))
    r = torch.empty(*x.shape[:-1], 1, dtype=torch.float32, device=x.device)
    if x.numel() == 0:
        return y, total, r
    num_cols = x.shape[-1]
    launch = launch_for("rms_norm", num_cols, x.device)
    # ``total`` has the strides of ``y``: both were made like ``x``.
    sizes, rows, strides = fold_rows(x, x if residual is None else residual, y, y if residual is None else total)
    with on_device_of(x):
        _forward_kernel[(triton.cdiv(math.prod(sizes), launch.blocks["BLOCK_N"]),)](
            rows[0],
            None if residual is None else rows[1],
            weight_H.contiguous(),
            rows[2],
            None if residual is None else rows[3],
            r,
            sizes,
            strides[0],
            strides[1],
            strides[2],
            num_cols,
            eps,
            offset,
            WITH_OFFSET=offset != 0.0,
            BLOCK_H=triton.next_power_of_2(num_cols),
            **launch.options,
        )
    return rows[2], total if residual is None else rows[3], r
