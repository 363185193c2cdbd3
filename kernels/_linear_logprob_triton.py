"""The projection to log-probabilities on a GPU: cuBLAS makes logits, one Triton program a token turns them into statistics and gradients.

With a gradient, a chunk of tokens at a time::

    logits = h W^T                      cuBLAS, into a buffer that all chunks share, in the dtype of h
    logits <- (onehot(y) - p) / t       one program a row: statistics in a first pass, the derivative over the logits in a second
    d logp / d h = logits W             cuBLAS

which is 4 N H V operations; the program itself reads the logits twice and writes them once. Without a gradient a tile of the vocabulary at
a time, with the statistics so far carried on in float32 (Milakov and Gimelshein 2018, arXiv 1805.02867): 2 N H V operations, products over
thousands of tokens in little memory, and logits that the program reads while they are largely in the second-level cache.

Statistics are kept relative to the running maximum ``m``, in float32 whatever the dtype of the logits::

    s = sum exp(z - m)      w = sum exp(z - m) (z - m)      logp = z[y] - m - log s      H = log s - w / s

Letters: N tokens, C tokens of a chunk, H hidden size, V vocabulary or a tile of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from twinkle.kernels._device import on_device_of
from twinkle.kernels._product_sum import add_product
from twinkle.kernels.tuning import Launch, launch_for

_CHUNK_BYTES = 640 * 2**20
"""Of logits with a gradient: about 2,200 tokens of 151,936 logits in bfloat16, so that the second product (C x H) fills a GPU too."""
_TILE_BYTES = 60 * 2**20
"""Of logits without a gradient: with the statistics less than 64 MB, a size that second-level caches come near."""
_TILE_TOKENS = 4096
_EVEN = 128
"""Chunks and tiles are multiples of this, for the tiles of matrix products and for aligned loads."""


@triton.jit  # type: ignore[untyped-decorator]
def _scaled_logits(
    row_ptr: tl.tensor, bias_ptr: tl.tensor, start: tl.tensor, num_v: tl.tensor, inv_temperature: tl.tensor, BLOCK_V: tl.constexpr
) -> tl.tensor:
    """``(logits + bias) / temperature`` from ``start`` on, in float32; -inf beyond the row."""
    cols = start + tl.arange(0, BLOCK_V)
    z = tl.load(row_ptr + cols, mask=cols < num_v, other=float("-inf")).to(tl.float32)
    if bias_ptr is not None:
        z += tl.load(bias_ptr + cols, mask=cols < num_v, other=0.0).to(tl.float32)
    return z * inv_temperature


@triton.jit  # type: ignore[untyped-decorator]
def _rows_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    bias_ptr: tl.tensor,
    labels_ptr: tl.tensor,
    num_v: tl.tensor,
    first_v: tl.tensor,
    inv_temperature: tl.tensor,
    state_ptr: tl.tensor,
    logps_ptr: tl.tensor,
    entropies_ptr: tl.tensor,
    argmax_ptr: tl.tensor,
    d_entropy_ptr: tl.tensor,
    g_logps_ptr: tl.tensor,
    g_entropies_ptr: tl.tensor,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
    GRADIENT: tl.constexpr,
    BLOCK_V: tl.constexpr,
) -> None:
    """One program a row of logits. ``FIRST`` and ``LAST`` say whether the row begins and ends here or is carried on in ``state``.

    With ``GRADIENT`` the row becomes ``g_logp (onehot - p) / t``, and ``-g_entropy p (log p + H) / t`` goes into ``d_entropy`` if given,
    else is added to the row where ``g_entropies`` are. An upstream gradient that is not given is one.
    """
    row = tl.program_id(0).to(tl.int64)  # chunk x V exceeds 2^31
    num_rows = tl.num_programs(0)
    row_ptr = logits_ptr + row * logits_stride
    label = tl.load(labels_ptr + row) - first_v
    has_label = (label >= 0) & (label < num_v)
    # Read before the row is overwritten. No label in any tile leaves NaN, not a wrong number.
    label_z = tl.load(row_ptr + label, mask=has_label, other=float("nan")).to(tl.float32)
    if bias_ptr is not None:
        label_z += tl.load(bias_ptr + label, mask=has_label, other=0.0).to(tl.float32)
    label_z *= inv_temperature

    m = tl.full([], float("-inf"), tl.float32)
    s = tl.full([], 0.0, tl.float32)
    w = tl.full([], 0.0, tl.float32)
    best = tl.full([], 0, tl.int64)
    if not FIRST:
        m = tl.load(state_ptr + row)
        s = tl.load(state_ptr + num_rows + row)
        w = tl.load(state_ptr + 2 * num_rows + row)
        label_z = tl.where(has_label, label_z, tl.load(state_ptr + 3 * num_rows + row))
        if argmax_ptr is not None:
            best = tl.load(argmax_ptr + row)

    for start in range(0, num_v, BLOCK_V):
        z = _scaled_logits(row_ptr, bias_ptr, start, num_v, inv_temperature, BLOCK_V)
        if argmax_ptr is not None:
            block_m, block_best = tl.max(z, axis=0, return_indices=True, return_indices_tie_break_left=True)
            best = tl.where(block_m > m, first_v + start + block_best.to(tl.int64), best)
        else:
            block_m = tl.max(z, axis=0)
        new_m = tl.maximum(m, block_m)
        pivot = tl.where(new_m == float("-inf"), 0.0, new_m)  # -inf - -inf is NaN
        e = tl.exp(z - pivot)
        shrink = tl.exp(m - pivot)
        if entropies_ptr is not None or g_entropies_ptr is not None:
            moved = tl.where(m == float("-inf"), 0.0, m - pivot)
            w = shrink * (w + s * moved) + tl.sum(e * tl.where(e > 0.0, z - pivot, 0.0), axis=0)
        s = shrink * s + tl.sum(e, axis=0)
        m = new_m

    if argmax_ptr is not None:
        tl.store(argmax_ptr + row, best)
    if not LAST:
        tl.store(state_ptr + row, m)
        tl.store(state_ptr + num_rows + row, s)
        tl.store(state_ptr + 2 * num_rows + row, w)
        tl.store(state_ptr + 3 * num_rows + row, label_z)
        return
    log_s = tl.log(s)
    entropy = log_s - w / s
    if logps_ptr is not None:
        tl.store(logps_ptr + row, label_z - m - log_s)
    if entropies_ptr is not None:
        tl.store(entropies_ptr + row, entropy)

    if GRADIENT:
        g_logp = inv_temperature
        g_entropy = inv_temperature
        if g_logps_ptr is not None:
            g_logp *= tl.load(g_logps_ptr + row)
        if g_entropies_ptr is not None:
            g_entropy *= tl.load(g_entropies_ptr + row)
        num_blocks = tl.cdiv(num_v, BLOCK_V)
        for block in range(0, num_blocks):
            start = (num_blocks - 1 - block) * BLOCK_V  # backwards: the end of the row was read last and is still in the cache
            z = _scaled_logits(row_ptr, bias_ptr, start, num_v, inv_temperature, BLOCK_V)
            cols = start + tl.arange(0, BLOCK_V)
            logp = z - m - log_s  # m + log s would lose log s where logits are large
            p = tl.exp(logp)
            d_row = g_logp * (tl.where(cols == label, 1.0, 0.0) - p)
            if d_entropy_ptr is not None or g_entropies_ptr is not None:
                d_entropy = -g_entropy * p * tl.where(p > 0.0, logp + entropy, 0.0)
                if d_entropy_ptr is not None:
                    tl.store(d_entropy_ptr + row * num_v + cols, d_entropy, mask=cols < num_v)
                else:
                    d_row += d_entropy
            tl.store(row_ptr + cols, d_row, mask=cols < num_v)


def absorb_rows_(
    logits_CV: Tensor,
    labels_C: Tensor,
    bias_V: Tensor | None = None,
    *,
    temperature: float = 1.0,
    logps_C: Tensor | None = None,
    entropies_C: Tensor | None = None,
    argmax_C: Tensor | None = None,
    gradient: bool = False,
    d_entropy_CV: Tensor | None = None,
    g_logps_C: Tensor | None = None,
    g_entropies_C: Tensor | None = None,
    state_4C: Tensor | None = None,
    first_v: int = 0,
    first: bool = True,
    last: bool = True,
    launch: Launch | None = None,
) -> None:
    """Statistics of logits into those tensors that are given; with ``gradient`` the derivative by the logits over the logits.

    Args:
        logits_CV: before bias and temperature; contiguous rows, any distance apart.
        logps_C: float32 and contiguous, as all vectors of floats but the bias.
        argmax_C: int64; the first of equals, as torch has it.
        d_entropy_CV: contiguous, in the dtype of the logits; asks for ``entropies_C`` and gets ``d entropy / d logits``.
        g_logps_C: upstream gradient of the log-probabilities, which the derivative is multiplied by.
        g_entropies_C: that of the entropies; their derivative is then added to that of the log-probabilities.
        state_4C: where the vocabulary comes tile by tile, what is carried from one to the next.
        first_v: vocabulary entry of the tile's first column; labels and argmax are those of the whole.
        first: nothing is carried to here.
        last: nothing is carried on from here. Only whole rows, first and last, can have a gradient.
    """
    num_rows, num_v = logits_CV.shape
    if num_rows == 0:
        return
    launch = launch or launch_for("linear_logprob", num_v, logits_CV.device)
    with on_device_of(logits_CV):
        _rows_kernel[(num_rows,)](
            logits_CV,
            logits_CV.stride(0),
            bias_V,
            labels_C,
            num_v,
            first_v,
            1.0 / temperature,
            state_4C,
            logps_C,
            entropies_C,
            argmax_C,
            d_entropy_CV,
            g_logps_C,
            g_entropies_C,
            FIRST=first,
            LAST=last,
            GRADIENT=gradient,
            **launch.options,
        )


def forward(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    bias_V: Tensor | None = None,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
    with_argmax: bool = False,
    with_gradient: bool = False,
    chunk_size: int | None = None,
    launch: Launch | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """``(logps_N, entropies_N, argmax_N, d_logp_NH, d_entropy_NH)``, the last two with a gradient only, the last with entropy only.

    Args:
        hidden_NH: float32 or narrower, in which both products are made; ``weight_VH`` is cast to it.
        chunk_size: tokens whose logits exist at a time; with a gradient for all of the vocabulary, without for a tile of it.
    """
    num_tokens = hidden_NH.shape[0]
    logps_N = hidden_NH.new_empty(num_tokens, dtype=torch.float32)
    entropies_N = torch.empty_like(logps_N) if with_entropy else None
    argmax_N = torch.empty_like(labels_N, memory_format=torch.contiguous_format) if with_argmax else None
    weight_VH, labels_N, bias_V = _operands(hidden_NH, weight_VH, labels_N, bias_V)
    if not with_gradient:
        for part in _parts(num_tokens, chunk_size or _TILE_TOKENS):
            seen = (logps_N[part], _part(entropies_N, part), _part(argmax_N, part))
            _statistics_by_tile(hidden_NH[part], weight_VH, labels_N[part], bias_V, temperature, *seen, launch=launch)
        return logps_N, entropies_N, argmax_N, None, None

    d_logp_NH = torch.empty_like(hidden_NH, memory_format=torch.contiguous_format)
    d_entropy_NH = torch.empty_like(d_logp_NH) if with_entropy else None
    size = chunk_size or default_chunk(num_tokens, weight_VH, num_buffers=2 if with_entropy else 1)
    logits_CV = hidden_NH.new_empty(min(size, num_tokens), weight_VH.shape[0])
    d_entropy_CV = torch.empty_like(logits_CV) if with_entropy else None
    for part in _parts(num_tokens, size):
        rows_CV = torch.mm(hidden_NH[part], weight_VH.T, out=logits_CV[: part.stop - part.start])
        d_rows_CV = _part(d_entropy_CV, slice(0, part.stop - part.start))
        absorb_rows_(
            rows_CV,
            labels_N[part],
            bias_V,
            temperature=temperature,
            logps_C=logps_N[part],
            entropies_C=_part(entropies_N, part),
            argmax_C=_part(argmax_N, part),
            gradient=True,
            d_entropy_CV=d_rows_CV,
            launch=launch,
        )
        torch.mm(rows_CV, weight_VH, out=d_logp_NH[part])
        if d_entropy_NH is not None and d_rows_CV is not None:
            torch.mm(d_rows_CV, weight_VH, out=d_entropy_NH[part])
    return logps_N, entropies_N, argmax_N, d_logp_NH, d_entropy_NH


def backward(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    bias_V: Tensor | None,
    g_logps_N: Tensor,
    g_entropies_N: Tensor | None,
    *,
    temperature: float,
    needs: tuple[bool, bool, bool],
    chunk_size: int | None = None,
    launch: Launch | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of hidden, weight and bias, as far as ``needs`` says, from logits made again: 2 N H V operations and as many a product."""
    g_hidden_NH = torch.empty_like(hidden_NH, memory_format=torch.contiguous_format) if needs[0] else None
    g_weight_VH = torch.zeros_like(weight_VH, memory_format=torch.contiguous_format) if needs[1] else None
    g_bias_V = hidden_NH.new_zeros(weight_VH.shape[0], dtype=torch.float32) if needs[2] else None
    narrow_VH, labels_N, flat_bias_V = _operands(hidden_NH, weight_VH, labels_N, bias_V)
    g_logps_N = g_logps_N.to(torch.float32).contiguous()  # that of a sum is one number with stride 0
    g_entropies_N = None if g_entropies_N is None else g_entropies_N.to(torch.float32).contiguous()
    size = chunk_size or default_chunk(hidden_NH.shape[0], narrow_VH)
    logits_CV = hidden_NH.new_empty(min(size, hidden_NH.shape[0]), narrow_VH.shape[0])
    for part in _parts(hidden_NH.shape[0], size):
        rows_CV = torch.mm(hidden_NH[part], narrow_VH.T, out=logits_CV[: part.stop - part.start])
        absorb_rows_(
            rows_CV,
            labels_N[part],
            flat_bias_V,
            temperature=temperature,
            gradient=True,
            g_logps_C=g_logps_N[part],
            g_entropies_C=_part(g_entropies_N, part),
            launch=launch,
        )
        if g_hidden_NH is not None:
            torch.mm(rows_CV, narrow_VH, out=g_hidden_NH[part])
        if g_weight_VH is not None:
            add_product(g_weight_VH, rows_CV.T, hidden_NH[part])
        if g_bias_V is not None:
            g_bias_V += rows_CV.sum(0, dtype=torch.float32)
    return (
        g_hidden_NH,
        g_weight_VH,
        None if g_bias_V is None or bias_V is None else g_bias_V.to(bias_V.dtype),
    )


def default_chunk(num_tokens: int, weight_VH: Tensor, num_buffers: int = 1) -> int:
    """Tokens of a chunk: as many as the byte budget holds, then as equal from chunk to chunk as whole tiles allow."""
    row_bytes = weight_VH.shape[0] * weight_VH.itemsize * num_buffers
    most = max(_EVEN, _CHUNK_BYTES // row_bytes // _EVEN * _EVEN)
    num_chunks = max(1, math.ceil(num_tokens / most))
    return max(1, math.ceil(num_tokens / (num_chunks * _EVEN))) * _EVEN


def _statistics_by_tile(
    hidden_CH: Tensor,
    weight_VH: Tensor,
    labels_C: Tensor,
    bias_V: Tensor | None,
    temperature: float,
    logps_C: Tensor,
    entropies_C: Tensor | None,
    argmax_C: Tensor | None,
    *,
    launch: Launch | None,
) -> None:
    """Statistics of rows whose logits exist for a tile of the vocabulary at a time."""
    num_rows, num_v = hidden_CH.shape[0], weight_VH.shape[0]
    size = min(num_v, max(_EVEN, _TILE_BYTES // (num_rows * hidden_CH.itemsize) // _EVEN * _EVEN))
    storage = hidden_CH.new_empty(num_rows * size)
    state_4C = hidden_CH.new_empty(4, num_rows, dtype=torch.float32)
    for tile in _parts(num_v, size):
        width = tile.stop - tile.start
        logits_CV = torch.mm(hidden_CH, weight_VH[tile].T, out=storage[: num_rows * width].view(num_rows, width))
        absorb_rows_(
            logits_CV,
            labels_C,
            _part(bias_V, tile),
            temperature=temperature,
            logps_C=logps_C,
            entropies_C=entropies_C,
            argmax_C=argmax_C,
            state_4C=state_4C,
            first_v=tile.start,
            first=tile.start == 0,
            last=tile.stop == num_v,
            launch=launch,
        )


def _operands(hidden_NH: Tensor, weight_VH: Tensor, labels_N: Tensor, bias_V: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Weight in the dtype of ``hidden_NH``, and vectors that a pointer can walk along."""
    return weight_VH.to(hidden_NH.dtype), labels_N.contiguous(), None if bias_V is None else bias_V.contiguous()


def _parts(size: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, size)) for first in range(0, size, step))


def _part(t: Tensor | None, part: slice) -> Tensor | None:
    return None if t is None else t[part]
