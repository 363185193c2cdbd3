"""Tensors as rows for a kernel that works along the last dim: any strides on the leading dims, without a copy.

A kernel sees three leading dims. Row ``n`` of sizes ``(A, B, C)`` starts at ``(n // C // B) s_A + (n // C % B) s_B + (n % C) s_C``; a size
of one costs nothing, because Triton compiles a constant one in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_ROW = 16_384
"""Numbers of a row that a program still holds in registers."""


def fits_triton(x: Tensor, longest_row: float = MAX_ROW) -> bool:
    """Whether the Triton kernels take ``x``: on CUDA, of a dtype that they widen to float32, with rows that are not too long."""
    return x.is_cuda and x.dtype in (torch.float16, torch.bfloat16, torch.float32) and x.shape[-1] <= longest_row


def fold_rows(*tensors: Tensor) -> tuple[tuple[int, int, int], list[Tensor], list[tuple[int, int, int]]]:
    """``(sizes, tensors, strides)`` of the leading dims of tensors of one shape, folded to three and filled up with ones.

    Neighbours are folded where every tensor can step over them with one stride. Tensors are returned as they came, but for those whose
    last dim is not contiguous, and all of them where more than three dims remain: these are copied.
    """
    rows = [t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous() for t in tensors]
    sizes, strides = _fold(rows[0].shape[:-1], [t.stride()[:-1] for t in rows])
    if len(sizes) > 3:
        rows = [t.contiguous() for t in rows]
        sizes, strides = _fold(rows[0].shape[:-1], [t.stride()[:-1] for t in rows])
    missing = 3 - len(sizes)
    a, b, c = sizes + [1] * missing
    return (a, b, c), rows, [(s[0], s[1], s[2]) for s in ([*one, *[0] * missing] for one in strides)]


def _fold(shape: Sequence[int], all_strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    sizes: list[int] = []
    folded: list[list[int]] = [[] for _ in all_strides]
    for dim, size in enumerate(shape):
        if size == 1:
            continue
        if sizes and all(done[-1] == strides[dim] * size for done, strides in zip(folded, all_strides, strict=True)):
            sizes[-1] *= size
            for done, strides in zip(folded, all_strides, strict=True):
                done[-1] = strides[dim]
            continue
        sizes.append(size)
        for done, strides in zip(folded, all_strides, strict=True):
            done.append(strides[dim])
    return sizes, folded
