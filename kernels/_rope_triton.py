"""Rotary position embedding on a GPU: queries and keys in one launch, each number read and written once.

A row is one head of one token, and rows are counted head by head within a token: that is how a projection lays heads out, and it lets the
heads of a token find its cosines and sines in the first-level cache. A row is held as its two halves that turn and the rest that does not,
so that every load is of consecutive numbers.

Letters: B sequences, S heads, T tokens, D numbers of a head, R of them rotated, N rows of a tile.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from twinkle.kernels._device import on_device_of
from twinkle.kernels.tuning import launch_for


@triton.jit  # type: ignore[untyped-decorator]
def head_start(rows: tl.tensor, num_heads: tl.tensor, num_tokens: tl.tensor, strides_BST: tl.tuple) -> tl.tensor:
    """Where the head of each row starts, in int64."""
    token = rows // num_heads
    return (
        (token // num_tokens).to(tl.int64) * strides_BST[0]
        + (rows % num_heads).to(tl.int64) * strides_BST[1]
        + (token % num_tokens).to(tl.int64) * strides_BST[2]
    )


@triton.jit  # type: ignore[untyped-decorator]
def turn(
    first: tl.tensor,
    second: tl.tensor,
    rows: tl.tensor,
    inside: tl.tensor,
    num_heads: tl.tensor,
    num_tokens: tl.tensor,
    angles: tl.tuple,
    TRANSPOSED: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Both halves of a tile of rows, turned by the angles of their tokens, or back; all in float32."""
    cos_ptr, sin_ptr, cos_strides, sin_strides = angles
    cols = tl.arange(0, BLOCK_HALF)[None, :]
    cos_offsets = head_start(rows, num_heads, num_tokens, cos_strides)[:, None] + cols
    sin_offsets = head_start(rows, num_heads, num_tokens, sin_strides)[:, None] + cols
    cos_first = tl.load(cos_ptr + cos_offsets, mask=inside, other=0.0).to(tl.float32)
    cos_second = tl.load(cos_ptr + cos_offsets + HALF, mask=inside, other=0.0).to(tl.float32)
    sin_first = tl.load(sin_ptr + sin_offsets, mask=inside, other=0.0).to(tl.float32)
    sin_second = tl.load(sin_ptr + sin_offsets + HALF, mask=inside, other=0.0).to(tl.float32)
    if TRANSPOSED:
        new_first = first * cos_first + second * sin_second
        new_second = second * cos_second - first * sin_first
    else:
        new_first = first * cos_first - second * sin_first
        new_second = second * cos_second + first * sin_second
    return new_first, new_second


@triton.jit  # type: ignore[untyped-decorator]
def _rotate_tile(
    tile: tl.tensor,
    x_ptr: tl.tensor,
    out_ptr: tl.tensor,
    x_strides: tl.tuple,
    out_strides: tl.tuple,
    num_heads: tl.tensor,
    num_sequences: tl.tensor,
    num_tokens: tl.tensor,
    angles: tl.tuple,
    TRANSPOSED: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
) -> None:
    rows = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    cols = tl.arange(0, BLOCK_HALF)[None, :]
    is_row = rows < num_sequences * num_tokens * num_heads
    inside = is_row[:, None] & (cols < HALF)
    x_offsets = head_start(rows, num_heads, num_tokens, x_strides)[:, None]
    out_offsets = head_start(rows, num_heads, num_tokens, out_strides)[:, None]
    first = tl.load(x_ptr + x_offsets + cols, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x_ptr + x_offsets + HALF + cols, mask=inside, other=0.0).to(tl.float32)
    first, second = turn(first, second, rows, inside, num_heads, num_tokens, angles, TRANSPOSED, HALF, BLOCK_HALF)
    tl.store(out_ptr + out_offsets + cols, first.to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(out_ptr + out_offsets + HALF + cols, second.to(out_ptr.dtype.element_ty), mask=inside)
    if REST > 0:
        rest_cols = tl.arange(0, BLOCK_REST)[None, :]
        still = is_row[:, None] & (rest_cols < REST)
        rest = tl.load(x_ptr + x_offsets + 2 * HALF + rest_cols, mask=still, other=0.0)
        tl.store(out_ptr + out_offsets + 2 * HALF + rest_cols, rest, mask=still)


@triton.jit  # type: ignore[untyped-decorator]
def _rope_kernel(
    q_ptr: tl.tensor,
    k_ptr: tl.tensor,
    q_out_ptr: tl.tensor,
    k_out_ptr: tl.tensor,
    q_strides: tl.tuple,
    k_strides: tl.tuple,
    q_out_strides: tl.tuple,
    k_out_strides: tl.tuple,
    num_q_heads: tl.tensor,
    num_k_heads: tl.tensor,
    num_sequences: tl.tensor,
    num_tokens: tl.tensor,
    angles: tl.tuple,
    TRANSPOSED: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
) -> None:
    """One tile of rows a program: first the tiles of the queries, then those of the keys."""
    program = tl.program_id(0)
    num_q_tiles = tl.cdiv(num_sequences * num_tokens * num_q_heads, BLOCK_N)
    if program < num_q_tiles:
        _rotate_tile(
            program, q_ptr, q_out_ptr, q_strides, q_out_strides, num_q_heads, num_sequences, num_tokens, angles,
            TRANSPOSED, HALF, REST, BLOCK_N, BLOCK_HALF, BLOCK_REST,
        )  # fmt: skip
    else:
        _rotate_tile(
            program - num_q_tiles, k_ptr, k_out_ptr, k_strides, k_out_strides, num_k_heads, num_sequences, num_tokens, angles,
            TRANSPOSED, HALF, REST, BLOCK_N, BLOCK_HALF, BLOCK_REST,
        )  # fmt: skip


def rope(q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor, *, transposed: bool) -> tuple[Tensor, Tensor]:
    """``(q', k')``, turned, or with ``transposed`` turned back."""
    q, k = contiguous_heads(q_BSTD), contiguous_heads(k_BSTD)
    q_out, k_out = torch.empty_like(q), torch.empty_like(k)
    num_sequences, num_q_heads, num_tokens, d = q.shape
    num_k_heads = k.shape[1]
    if num_sequences * num_tokens == 0:
        return q_out, k_out
    launch = launch_for("rope", d, q.device)
    num_tiles = sum(triton.cdiv(num_sequences * num_tokens * heads, launch.blocks["BLOCK_N"]) for heads in (num_q_heads, num_k_heads))
    with on_device_of(q):
        _rope_kernel[(num_tiles,)](
            q,
            k,
            q_out,
            k_out,
            *(t.stride()[:3] for t in (q, k, q_out, k_out)),
            num_q_heads,
            num_k_heads,
            num_sequences,
            num_tokens,
            angle_arguments(cos_BTR, sin_BTR),
            TRANSPOSED=transposed,
            **part_sizes(d, cos_BTR.shape[-1]),
            **launch.options,
        )
    return q_out, k_out


def contiguous_heads(x: Tensor) -> Tensor:
    """``x``, or a copy where its last dim is not contiguous."""
    return x if x.stride(-1) == 1 else x.contiguous()


def angle_arguments(cos_BTR: Tensor, sin_BTR: Tensor) -> tuple[Tensor, Tensor, tuple[int, int, int], tuple[int, int, int]]:
    """Cosines and sines, and their strides by sequence, head and token: heads share them, and sequences do where there is one row."""
    cos, sin = contiguous_heads(cos_BTR), contiguous_heads(sin_BTR)
    cos_b, sin_b = (0 if t.shape[0] == 1 else t.stride(0) for t in (cos, sin))
    return cos, sin, (cos_b, 0, cos.stride(1)), (sin_b, 0, sin.stride(1))


def part_sizes(d: int, size: int) -> dict[str, int]:
    """The parts of a row, constants so that the compiler sees their alignment, and the blocks that cover them."""
    half, rest = size // 2, d - size
    return {
        "HALF": half,
        "REST": rest,
        "BLOCK_HALF": triton.next_power_of_2(half),
        "BLOCK_REST": triton.next_power_of_2(rest) if rest else 0,
    }
