"""Normalisation and rotation of heads on a GPU: queries and keys in one launch, each number read and written once, in both directions.

Rows are those of :mod:`twinkle.kernels._rope_triton`. Backward turns the gradient back, then goes through the norm as
:mod:`twinkle.kernels._rms_norm_triton` does; where weights are trained a program goes over many rows and writes its part of their
gradients once.

Letters: B sequences, S heads, T tokens, D numbers of a head, R of them rotated, N rows of a tile.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from twinkle.kernels._device import on_device_of
from twinkle.kernels._rope_triton import angle_arguments, contiguous_heads, head_start, part_sizes, turn
from twinkle.kernels._row_triton import num_sharing_programs
from twinkle.kernels.tuning import launch_for


@triton.jit  # type: ignore[untyped-decorator]
def _scaled(
    normed: tl.tensor,
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    out_ptr: tl.tensor,
    is_col: tl.tensor,
    offset: tl.tensor,
    WITH_OFFSET: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Normalised numbers times the weights from ``weight_ptr`` on, rounded where the modules round: in float32, of the dtype of ``out``."""
    weight = tl.load(weight_ptr + tl.arange(0, BLOCK)[None, :], mask=is_col, other=0.0).to(tl.float32)
    scaled = normed * (weight + offset) if WITH_OFFSET else normed.to(x_ptr.dtype.element_ty).to(tl.float32) * weight
    return scaled.to(out_ptr.dtype.element_ty).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_tile(
    tile: tl.tensor,
    x_ptr: tl.tensor,
    weight_ptr: tl.tensor,
    out_ptr: tl.tensor,
    r_ptr: tl.tensor,
    x_strides: tl.tuple,
    out_strides: tl.tuple,
    num_heads: tl.tensor,
    num_sequences: tl.tensor,
    num_tokens: tl.tensor,
    angles: tl.tuple,
    eps: tl.tensor,
    offset: tl.tensor,
    WITH_OFFSET: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
) -> None:
    rows = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    cols = tl.arange(0, BLOCK_HALF)[None, :]
    is_row, is_col = rows < num_sequences * num_tokens * num_heads, cols < HALF
    inside = is_row[:, None] & is_col
    x_tile_ptr = x_ptr + head_start(rows, num_heads, num_tokens, x_strides)[:, None]
    out_tile_ptr = out_ptr + head_start(rows, num_heads, num_tokens, out_strides)[:, None]
    dtype = out_ptr.dtype.element_ty

    first = tl.load(x_tile_ptr + cols, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x_tile_ptr + HALF + cols, mask=inside, other=0.0).to(tl.float32)
    squares = tl.sum(first * first + second * second, axis=1)
    if REST > 0:
        rest_cols = tl.arange(0, BLOCK_REST)[None, :]
        is_rest = rest_cols < REST
        still = is_row[:, None] & is_rest
        rest = tl.load(x_tile_ptr + 2 * HALF + rest_cols, mask=still, other=0.0).to(tl.float32)
        squares += tl.sum(rest * rest, axis=1)
    r = tl.rsqrt(squares / (2 * HALF + REST) + eps)
    tl.store(r_ptr + rows, r, mask=is_row)

    first = _scaled(first * r[:, None], x_ptr, weight_ptr, out_ptr, is_col, offset, WITH_OFFSET, BLOCK_HALF)
    second = _scaled(second * r[:, None], x_ptr, weight_ptr + HALF, out_ptr, is_col, offset, WITH_OFFSET, BLOCK_HALF)
    first, second = turn(first, second, rows, inside, num_heads, num_tokens, angles, False, HALF, BLOCK_HALF)
    tl.store(out_tile_ptr + cols, first.to(dtype), mask=inside)
    tl.store(out_tile_ptr + HALF + cols, second.to(dtype), mask=inside)
    if REST > 0:
        rest = _scaled(rest * r[:, None], x_ptr, weight_ptr + 2 * HALF, out_ptr, is_rest, offset, WITH_OFFSET, BLOCK_REST)
        tl.store(out_tile_ptr + 2 * HALF + rest_cols, rest.to(dtype), mask=still)


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(
    q_ptrs: tl.tuple,
    k_ptrs: tl.tuple,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    q_out_strides: tl.tuple,
    k_out_strides: tl.tuple,
    num_q_heads: tl.tensor,
    num_k_heads: tl.tensor,
    num_sequences: tl.tensor,
    num_tokens: tl.tensor,
    angles: tl.tuple,
    eps: tl.tensor,
    offset: tl.tensor,
    WITH_OFFSET: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
) -> None:
    """One tile of rows a program, first those of the queries, then those of the keys; ``ptrs`` are heads, weight, results and ``r``."""
    program = tl.program_id(0)
    num_q_tiles = tl.cdiv(num_sequences * num_tokens * num_q_heads, BLOCK_N)
    if program < num_q_tiles:
        _forward_tile(
            program, q_ptrs[0], q_ptrs[1], q_ptrs[2], q_ptrs[3], q_strides, q_out_strides, num_q_heads,
            num_sequences, num_tokens, angles, eps, offset, WITH_OFFSET, HALF, REST, BLOCK_N, BLOCK_HALF, BLOCK_REST,
        )  # fmt: skip
    else:
        _forward_tile(
            program - num_q_tiles, k_ptrs[0], k_ptrs[1], k_ptrs[2], k_ptrs[3], k_strides, k_out_strides, num_k_heads,
            num_sequences, num_tokens, angles, eps, offset, WITH_OFFSET, HALF, REST, BLOCK_N, BLOCK_HALF, BLOCK_REST,
        )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def _backward_tiles(
    program: tl.tensor,
    num_programs: tl.tensor,
    ptrs: tl.tuple,
    g_strides: tl.tuple,
    x_strides: tl.tuple,
    g_x_strides: tl.tuple,
    num_heads: tl.tensor,
    num_sequences: tl.tensor,
    num_tokens: tl.tensor,
    angles: tl.tuple,
    offset: tl.tensor,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:
    g_ptr, x_ptr, weight_ptr, r_ptr, g_x_ptr, g_weight_ptr = ptrs
    num_rows = num_sequences * num_tokens * num_heads
    dtype = g_x_ptr.dtype.element_ty
    cols = tl.arange(0, BLOCK_HALF)[None, :]
    is_col = cols < HALF
    first_scale = tl.load(weight_ptr + cols, mask=is_col, other=0.0).to(tl.float32) + offset
    second_scale = tl.load(weight_ptr + HALF + cols, mask=is_col, other=0.0).to(tl.float32) + offset
    # Summed over the rows of a tile at the end: no exchange between threads while rows stream by.
    first_g_weight = tl.zeros([BLOCK_N, BLOCK_HALF], dtype=tl.float32)
    second_g_weight = tl.zeros([BLOCK_N, BLOCK_HALF], dtype=tl.float32)
    if REST > 0:
        rest_cols = tl.arange(0, BLOCK_REST)[None, :]
        is_rest = rest_cols < REST
        rest_scale = tl.load(weight_ptr + 2 * HALF + rest_cols, mask=is_rest, other=0.0).to(tl.float32) + offset
        rest_g_weight = tl.zeros([BLOCK_N, BLOCK_REST], dtype=tl.float32)

    for tile in tl.range(program, tl.cdiv(num_rows, BLOCK_N), num_programs, num_stages=STAGES):
        rows = tile * BLOCK_N + tl.arange(0, BLOCK_N)
        is_row = rows < num_rows
        inside = is_row[:, None] & is_col
        g_tile_ptr = g_ptr + head_start(rows, num_heads, num_tokens, g_strides)[:, None]
        x_tile_ptr = x_ptr + head_start(rows, num_heads, num_tokens, x_strides)[:, None]
        g_x_tile_ptr = g_x_ptr + head_start(rows, num_heads, num_tokens, g_x_strides)[:, None]
        r = tl.load(r_ptr + rows, mask=is_row, other=0.0)[:, None]
        first = tl.load(x_tile_ptr + cols, mask=inside, other=0.0).to(tl.float32) * r
        second = tl.load(x_tile_ptr + HALF + cols, mask=inside, other=0.0).to(tl.float32) * r
        first_g = tl.load(g_tile_ptr + cols, mask=inside, other=0.0).to(tl.float32)
        second_g = tl.load(g_tile_ptr + HALF + cols, mask=inside, other=0.0).to(tl.float32)
        first_g, second_g = turn(first_g, second_g, rows, inside, num_heads, num_tokens, angles, True, HALF, BLOCK_HALF)
        if g_weight_ptr is not None:
            first_g_weight += first_g * first
            second_g_weight += second_g * second
        first_g *= first_scale
        second_g *= second_scale
        total = tl.sum(first_g * first + second_g * second, axis=1)
        if REST > 0:
            still = is_row[:, None] & is_rest
            rest = tl.load(x_tile_ptr + 2 * HALF + rest_cols, mask=still, other=0.0).to(tl.float32) * r
            rest_g = tl.load(g_tile_ptr + 2 * HALF + rest_cols, mask=still, other=0.0).to(tl.float32)
            if g_weight_ptr is not None:
                rest_g_weight += rest_g * rest
            rest_g *= rest_scale
            total += tl.sum(rest_g * rest, axis=1)
        mean = total[:, None] / (2 * HALF + REST)
        tl.store(g_x_tile_ptr + cols, (r * (first_g - first * mean)).to(dtype), mask=inside)
        tl.store(g_x_tile_ptr + HALF + cols, (r * (second_g - second * mean)).to(dtype), mask=inside)
        if REST > 0:
            tl.store(g_x_tile_ptr + 2 * HALF + rest_cols, (r * (rest_g - rest * mean)).to(dtype), mask=still)

    if g_weight_ptr is not None:
        part_ptr = g_weight_ptr + program * (2 * HALF + REST)
        tl.store(part_ptr + cols, tl.sum(first_g_weight, axis=0)[None, :], mask=is_col)
        tl.store(part_ptr + HALF + cols, tl.sum(second_g_weight, axis=0)[None, :], mask=is_col)
        if REST > 0:
            tl.store(part_ptr + 2 * HALF + rest_cols, tl.sum(rest_g_weight, axis=0)[None, :], mask=is_rest)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(
    q_ptrs: tl.tuple,
    k_ptrs: tl.tuple,
    g_q_out_strides: tl.tuple,
    g_k_out_strides: tl.tuple,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    g_q_strides: tl.tuple,
    g_k_strides: tl.tuple,
    num_q_programs: tl.tensor,
    num_q_heads: tl.tensor,
    num_k_heads: tl.tensor,
    num_sequences: tl.tensor,
    num_tokens: tl.tensor,
    angles: tl.tuple,
    offset: tl.tensor,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:
    """The first ``num_q_programs`` programs share the queries' tiles, the others those of the keys.

    ``ptrs`` are gradients of results, heads, weight, ``r``, gradients of heads, and the parts of the weight's gradient or None.
    """
    program = tl.program_id(0)
    if program < num_q_programs:
        _backward_tiles(
            program, num_q_programs, q_ptrs, g_q_out_strides, q_strides, g_q_strides, num_q_heads,
            num_sequences, num_tokens, angles, offset, HALF, REST, BLOCK_N, BLOCK_HALF, BLOCK_REST, STAGES,
        )  # fmt: skip
    else:
        _backward_tiles(
            program - num_q_programs, tl.num_programs(0) - num_q_programs, k_ptrs, g_k_out_strides, k_strides, g_k_strides, num_k_heads,
            num_sequences, num_tokens, angles, offset, HALF, REST, BLOCK_N, BLOCK_HALF, BLOCK_REST, STAGES,
        )  # fmt: skip


def qk_norm_rope_forward(
    q_BSTD: Tensor,
    k_BSTD: Tensor,
    q_weight_D: Tensor,
    k_weight_D: Tensor,
    cos_BTR: Tensor,
    sin_BTR: Tensor,
    eps: float,
    offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``(q', k')`` and the inverse root mean squares of both, in float32, by row."""
    q, k = contiguous_heads(q_BSTD), contiguous_heads(k_BSTD)
    q_out, k_out = (
        torch.empty_like(x, dtype=x.dtype if offset != 0.0 else torch.promote_types(x.dtype, weight_D.dtype))
        for x, weight_D in ((q, q_weight_D), (k, k_weight_D))
    )
    num_sequences, num_q_heads, num_tokens, d = q.shape
    num_k_heads = k.shape[1]
    num_rows = [num_sequences * num_tokens * heads for heads in (num_q_heads, num_k_heads)]
    q_r, k_r = (torch.empty(n, dtype=torch.float32, device=q.device) for n in num_rows)
    if num_sequences * num_tokens == 0:
        return q_out, k_out, q_r, k_r
    launch = launch_for("qk_norm_rope", d, q.device)
    with on_device_of(q):
        _forward_kernel[(sum(triton.cdiv(n, launch.blocks["BLOCK_N"]) for n in num_rows),)](
            (q, q_weight_D.contiguous(), q_out, q_r),
            (k, k_weight_D.contiguous(), k_out, k_r),
            *(t.stride()[:3] for t in (q, k, q_out, k_out)),
            num_q_heads,
            num_k_heads,
            num_sequences,
            num_tokens,
            angle_arguments(cos_BTR, sin_BTR),
            eps,
            offset,
            WITH_OFFSET=offset != 0.0,
            **part_sizes(d, cos_BTR.shape[-1]),
            **launch.options,
        )
    return q_out, k_out, q_r, k_r


def qk_norm_rope_backward(
    g_q_BSTD: Tensor,
    g_k_BSTD: Tensor,
    q_BSTD: Tensor,
    k_BSTD: Tensor,
    q_weight_D: Tensor,
    k_weight_D: Tensor,
    cos_BTR: Tensor,
    sin_BTR: Tensor,
    q_r: Tensor,
    k_r: Tensor,
    offset: float,
    needs_weight: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """``(dq, dk, dq_weight, dk_weight)``; the last two where ``needs_weight``."""
    g_q_out, g_k_out, q, k = (contiguous_heads(t) for t in (g_q_BSTD, g_k_BSTD, q_BSTD, k_BSTD))
    g_q, g_k = torch.empty_like(q), torch.empty_like(k)
    num_sequences, num_q_heads, num_tokens, d = q.shape
    if num_sequences * num_tokens == 0:
        return g_q, g_k, *((torch.zeros_like(q_weight_D), torch.zeros_like(k_weight_D)) if needs_weight else (None, None))
    launch = launch_for("qk_norm_rope", d, q.device)
    num_q_programs, num_k_programs = (triton.cdiv(r.numel(), launch.blocks["BLOCK_N"]) for r in (q_r, k_r))
    q_parts = k_parts = None
    if needs_weight:
        num_tiles = num_q_programs + num_k_programs
        num_programs = num_sharing_programs(num_tiles, q.device)
        # In proportion to their tiles; each has one at least.
        num_k_programs = max(1, num_programs * num_k_programs // num_tiles)
        num_q_programs = max(1, num_programs - num_k_programs)
        q_parts = torch.empty(num_q_programs, d, dtype=torch.float32, device=q.device)
        k_parts = torch.empty(num_k_programs, d, dtype=torch.float32, device=q.device)
    with on_device_of(q):
        _backward_kernel[(num_q_programs + num_k_programs,)](
            (g_q_out, q, q_weight_D.contiguous(), q_r, g_q, q_parts),
            (g_k_out, k, k_weight_D.contiguous(), k_r, g_k, k_parts),
            *(t.stride()[:3] for t in (g_q_out, g_k_out, q, k, g_q, g_k)),
            num_q_programs,
            num_q_heads,
            k.shape[1],
            num_sequences,
            num_tokens,
            angle_arguments(cos_BTR, sin_BTR),
            offset,
            **part_sizes(d, cos_BTR.shape[-1]),
            STAGES=launch.num_stages if needs_weight else 1,  # a single tile has nothing to load ahead
            **launch.options,
        )
    if q_parts is None or k_parts is None:
        return g_q, g_k, None, None
    return g_q, g_k, q_parts.sum(0).to(q_weight_D.dtype), k_parts.sum(0).to(k_weight_D.dtype)
