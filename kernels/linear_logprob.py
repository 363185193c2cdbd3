"""Log-probabilities of labels through an output projection, without ever holding the logits of all tokens.

With hidden states ``h_n``, projection ``W``, logits ``z_n = W h_n / t`` and ``p_n = softmax(z_n)``::

    logp_n = z_n[y_n] - logsumexp(z_n)         d logp_n / d h_n = (W[y_n] - p_n W) / t
    H_n    = logsumexp(z_n) - p_n . z_n        d H_n    / d h_n = -(p_n * (log p_n + H_n)) W / t

``p_n W`` is attention whose keys and values are the rows of ``W``, so it is made as in FlashAttention (Dao et al. 2022, arXiv 2205.14135):
a tile of tokens x vocabulary at a time, with a running maximum ``m`` and the sums ``sum exp(z - m)`` and ``exp(z - m) W``, which shrink
by ``exp(m - m')`` when the maximum grows to ``m'``; division by the sum comes last, on ``[N, H]``. The derivative by ``h_n`` is a row
that the gradient of each token only scales, so with a frozen projection it is made in the forward pass, while the logits are at hand:
4 N H V operations in all. A projection that is trained itself needs the logits again, in the backward pass: 2 N H V forward, 6 N H V
backward. Compare Apple's cut cross entropy (Wijmans et al. 2025, arXiv 2411.09009), which recomputes them always, and Liger's fused
linear cross entropy, which makes the gradient early for the mean loss alone and holds whole rows of logits.

Letters: N labelled tokens, H hidden size, V vocabulary; C tokens and U vocabulary entries of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from twinkle.core.errors import InvalidArgument
from twinkle.kernels._first_derivative import once_differentiable
from twinkle.kernels._product_sum import add_product

_TILE_ELEMENTS = 2**19
"""2 MiB in float32: with more than a core's second-level cache holds, each pass over a tile costs several times as much."""

_EVEN = 64
"""Tiles are whole multiples of this wide, for the kernels of the products."""

_IMPOSSIBLE = -1000.0
"""``exp`` of this is 0, in float64 too, where it is from -746 on."""

_TILE_TOKENS = 512
"""As many tokens as there are, up to this: the kernels of both products are then at their best, and the tile is still 1,024 wide."""


@dataclass(frozen=True, slots=True)
class TokenDistribution:
    """What is known of each token's distribution over the vocabulary."""

    logps_N: Tensor
    """Log-probability of the label, in nats; float32 or wider."""
    entropies_N: Tensor | None = None
    """Entropy, in nats."""
    argmax_N: Tensor | None = None
    """The likeliest token."""


def linear_logprob(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    bias_V: Tensor | None = None,
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
    with_argmax: bool = False,
    chunk_size: int | None = None,
    vocab_chunk_size: int | None = None,
) -> TokenDistribution:
    """Log-probabilities of ``labels_N`` under ``softmax((hidden W^T + bias) / temperature)``; differentiable in hidden, weight and bias.

    Products are made in the dtype of ``hidden_NH``, or that of autocast; logits are rounded to it, sums are not. (On CUDA the gradient of a
    projection in that dtype is: once for each 640 MiB of logits.)

    Args:
        labels_N: int64 in ``[0, V)``; another makes its log-probability nan.
        chunk_size: tokens whose logits exist at a time; by memory without.
        vocab_chunk_size: vocabulary entries whose logits exist at a time; by memory without, and always by memory on CUDA.

    Raises:
        InvalidArgument: shapes that do not belong together, or a temperature that is not a finite number above 0.
    """
    _check_arguments(hidden_NH, weight_VH, labels_N, bias_V, temperature)
    device = hidden_NH.device.type
    narrows = torch.is_autocast_enabled(device) and hidden_NH.dtype != torch.float64  # which autocast leaves alone everywhere
    dtype = torch.get_autocast_dtype(device) if narrows else hidden_NH.dtype
    if not torch.is_grad_enabled():
        hidden_NH = hidden_NH.detach()  # else its gradient would be made for nobody
    with torch.autocast(device, enabled=False):
        logps_N, entropies_N, argmax_N = _LinearLogprob.apply(  # type: ignore[no-untyped-call]
            hidden_NH.to(dtype), weight_VH, bias_V, labels_N, temperature, with_entropy, with_argmax, (chunk_size, vocab_chunk_size)
        )
    return TokenDistribution(logps_N, entropies_N, argmax_N)


def linear_logprob_ref(
    hidden_NH: Tensor, weight_VH: Tensor, labels_N: Tensor, bias_V: Tensor | None = None, *, temperature: float = 1.0
) -> TokenDistribution:
    """The same from whole logits, in float32 or wider: what the fast path must equal."""
    check_temperature(temperature)
    wide = torch.promote_types(hidden_NH.dtype, torch.float32)
    logits_NV = hidden_NH.to(wide) @ weight_VH.to(wide).T
    if bias_V is not None:
        logits_NV = logits_NV + bias_V.to(wide)
    logps_NV = torch.log_softmax(logits_NV / temperature, dim=-1)
    entropies_N = -(logps_NV.exp() * logps_NV).sum(-1)
    return TokenDistribution(logps_NV.gather(-1, labels_N[:, None])[:, 0], entropies_N, logits_NV.argmax(-1))


def check_temperature(temperature: float) -> None:
    """Logits over a negative temperature would rank the tokens the other way round, and make an impossible one (``-inf``) certain.

    Raises:
        InvalidArgument: ``temperature`` is not a finite number above 0.
    """
    if not 0 < temperature < math.inf:
        raise InvalidArgument(
            f"temperature: expected a finite number above 0, which logits are divided by, got {temperature}; 1 leaves them as they are"
        )


def _check_arguments(hidden_NH: Tensor, weight_VH: Tensor, labels_N: Tensor, bias_V: Tensor | None, temperature: float) -> None:
    """A kernel would read beyond what is too short, and torch would stretch what is of length one."""
    num_entries, hidden_size = weight_VH.shape
    expected: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "hidden": (hidden_NH, (hidden_NH.shape[0], hidden_size)),
        "labels": (labels_N, (hidden_NH.shape[0],)),
    }
    if bias_V is not None:
        expected["bias"] = bias_V, (num_entries,)
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise InvalidArgument(
                f"{name} should have shape {shape} beside a weight of {tuple(weight_VH.shape)} [vocabulary, hidden] and hidden "
                f"states {tuple(hidden_NH.shape)} [tokens, hidden], and has {tuple(tensor.shape)}"
            )
    check_temperature(temperature)


def _takes_triton(hidden_NH: Tensor) -> bool:
    """On CUDA, but for float64, which the kernel would narrow to float32."""
    return hidden_NH.is_cuda and hidden_NH.dtype.itemsize <= 4


def _tile_shape(num_tokens: int, num_entries: int, tokens: int | None, entries: int | None) -> tuple[int, int]:
    """``(C, U)``: tokens in equal parts, then as much of the vocabulary as the tile holds, in whole vector registers."""
    if tokens is None:
        num_parts = max(1, math.ceil(num_tokens / _TILE_TOKENS))
        tokens = math.ceil(num_tokens / num_parts)
    tokens = max(1, min(tokens, num_tokens))
    if entries is None:
        entries = max(_EVEN, _TILE_ELEMENTS // tokens // _EVEN * _EVEN)
    return tokens, min(entries, num_entries)


def _slices(end: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, end)) for first in range(0, end, size))


class _LinearLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        labels_N: Tensor,
        temperature: float,
        with_entropy: bool,
        with_argmax: bool,
        asked: tuple[int | None, int | None],
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        is_frozen = not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2])
        early = is_frozen and ctx.needs_input_grad[0]
        if _takes_triton(hidden_NH):
            from twinkle.kernels import _linear_logprob_triton

            logps_N, entropies_N, argmax_N, d_logp_NH, d_entropy_NH = _linear_logprob_triton.forward(
                hidden_NH,
                weight_VH,
                labels_N,
                bias_V,
                temperature=temperature,
                with_entropy=with_entropy,
                with_argmax=with_argmax,
                with_gradient=early,
                chunk_size=asked[0],
            )
            seen = _ForwardPass(logps_N, entropies_N, argmax_N, d_logp_NH, d_entropy_NH)
        else:
            seen = _forward(
                hidden_NH,
                weight_VH,
                labels_N,
                bias_V,
                temperature=temperature,
                with_entropy=with_entropy,
                with_argmax=with_argmax,
                with_gradient=early,
                tile=_tile_shape(hidden_NH.shape[0], weight_VH.shape[0], *asked),
            )
        if is_frozen:
            ctx.save_for_backward(seen.d_logp_NH, seen.d_entropy_NH)
        else:
            ctx.save_for_backward(hidden_NH, weight_VH, bias_V, labels_N, seen.max_N, seen.sum_N, seen.entropies_N)
        ctx.is_frozen, ctx.temperature, ctx.asked = is_frozen, temperature, asked
        if seen.argmax_N is not None:
            ctx.mark_non_differentiable(seen.argmax_N)
        return seen.logps_N, seen.entropies_N, seen.argmax_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_logps_N: Tensor, g_entropies_N: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if ctx.is_frozen:
            d_logp_NH, d_entropy_NH = ctx.saved_tensors
            return _scaled(d_logp_NH, d_entropy_NH, g_logps_N, g_entropies_N), *(None,) * 7
        hidden_NH, weight_VH, bias_V, labels_N, max_N, sum_N, entropies_N = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        if _takes_triton(hidden_NH):
            from twinkle.kernels import _linear_logprob_triton

            gradients = _linear_logprob_triton.backward(
                hidden_NH,
                weight_VH,
                labels_N,
                bias_V,
                g_logps_N,
                g_entropies_N,
                temperature=ctx.temperature,
                needs=needs,
                chunk_size=ctx.asked[0],
            )
        else:
            gradients = _backward(
                hidden_NH,
                weight_VH,
                labels_N,
                bias_V,
                max_N,
                sum_N,
                entropies_N,
                g_logps_N,
                g_entropies_N,
                temperature=ctx.temperature,
                needs=needs,
                tile=_tile_shape(hidden_NH.shape[0], weight_VH.shape[0], *ctx.asked),
            )
        return *gradients, *(None,) * 5


def _scaled(d_logp_NH: Tensor, d_entropy_NH: Tensor | None, g_logps_N: Tensor, g_entropies_N: Tensor | None) -> Tensor:
    """The gradient of hidden from derivatives that the forward pass made."""
    g_hidden_NH = d_logp_NH * g_logps_N[:, None].to(d_logp_NH.dtype)
    if d_entropy_NH is not None and g_entropies_N is not None:
        g_hidden_NH.addcmul_(d_entropy_NH, g_entropies_N[:, None].to(d_entropy_NH.dtype))
    return g_hidden_NH


@dataclass(frozen=True, slots=True)
class _ForwardPass:
    logps_N: Tensor
    entropies_N: Tensor | None
    argmax_N: Tensor | None
    d_logp_NH: Tensor | None
    d_entropy_NH: Tensor | None
    max_N: Tensor | None = None
    """The largest logit. None from Triton, whose backward pass makes it and the next again."""
    sum_N: Tensor | None = None
    """Sum of ``exp(z - max)``."""


def _forward(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    bias_V: Tensor | None,
    *,
    temperature: float,
    with_entropy: bool,
    with_argmax: bool,
    with_gradient: bool,
    tile: tuple[int, int],
) -> _ForwardPass:
    """Sums over the vocabulary a tile at a time.

    On a CPU the products are nearly all the time: while a tile stays in the cache, the five passes over it (maximum, subtraction,
    exponential, sum, and the copies to and from float32 where it is narrower) cost 0.6 to 1 ns an element, the products 4 H operations.
    """
    dtype, wide = hidden_NH.dtype, torch.promote_types(hidden_NH.dtype, torch.float32)
    num_tokens, hidden_NH = hidden_NH.shape[0], hidden_NH.contiguous()
    running = _RunningSoftmax.start(num_tokens, wide, hidden_NH.device, with_entropy, with_argmax)
    sum_NH = torch.zeros_like(hidden_NH, dtype=wide) if with_gradient else None
    moment_NH = torch.zeros_like(hidden_NH, dtype=wide) if with_gradient and with_entropy else None
    storage = hidden_NH.new_empty(math.prod(tile))
    moment_storage = None if moment_NH is None else torch.empty_like(storage)
    for entry, token, weight_UH, logits_CU in _tiles(hidden_NH, weight_VH, bias_V, temperature, tile, storage):
        moments_CU = None if moment_storage is None else moment_storage[: logits_CU.numel()].view_as(logits_CU)
        shift_C = _absorb(logits_CU, entry.start, labels_N[token], running.part(token), keep_terms=with_gradient, moments_CU=moments_CU)
        if sum_NH is None:
            continue
        if moment_NH is not None and moments_CU is not None:
            moment_NH[token] = _shifted(moment_NH[token], sum_NH[token], shift_C[:, None])
            add_product(moment_NH[token], moments_CU, weight_UH)
        sum_NH[token] *= shift_C.exp()[:, None]
        add_product(sum_NH[token], logits_CU, weight_UH)

    log_sum_N = running.sum_N.log()
    mean_N = None if running.moment_N is None else running.moment_N / running.sum_N
    d_logp_NH = d_entropy_NH = None
    if sum_NH is not None:
        mean_NH = sum_NH.div_(running.sum_N[:, None])
        if moment_NH is not None and mean_N is not None:
            # d H / d h = -(sum p (z - m) W - (sum p (z - m)) sum p W) / t
            moment_NH.div_(running.sum_N[:, None]).addcmul_(mean_NH, mean_N[:, None], value=-1).div_(-temperature)
            d_entropy_NH = moment_NH.to(dtype)
        for token in _slices(num_tokens, tile[0]):
            rows_C = labels_N[token].clamp(0, weight_VH.shape[0] - 1)  # another label's log-probability is nan, whatever its gradient
            mean_NH[token].sub_(weight_VH[rows_C].to(dtype)).div_(-temperature)
        d_logp_NH = mean_NH.to(dtype)
    return _ForwardPass(
        running.label_N - running.max_N - log_sum_N,  # in this order: max + log sum loses the log where logits are large
        None if mean_N is None else log_sum_N - mean_N,
        running.argmax_N,
        d_logp_NH,
        d_entropy_NH,
        running.max_N,
        running.sum_N,
    )


def _backward(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    bias_V: Tensor | None,
    max_N: Tensor,
    sum_N: Tensor,
    entropies_N: Tensor | None,
    g_logps_N: Tensor,
    g_entropies_N: Tensor | None,
    *,
    temperature: float,
    needs: tuple[bool, bool, bool],
    tile: tuple[int, int],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of hidden, weight and bias, as far as they are needed, from logits made again::

    d logp[y] / d z = onehot(y) - p        d H / d z = -p (log p + H) = -p (z - sum p z)
    """
    dtype, wide = hidden_NH.dtype, max_N.dtype
    hidden_NH = hidden_NH.contiguous()
    g_logps_N = g_logps_N / temperature
    # Of exp(z - m), so that division by the sum costs no pass; m + log sum would lose the log where logits are large.
    factor_N1 = (-g_logps_N / sum_N)[:, None]
    slope_N1 = mean_N1 = None
    if entropies_N is not None and g_entropies_N is not None:
        slope_N1 = (g_entropies_N / (-temperature * sum_N))[:, None]
        mean_N1 = (sum_N.log() - entropies_N)[:, None]
    g_hidden_NH = torch.zeros_like(hidden_NH, dtype=wide) if needs[0] else None
    g_weight_VH = torch.zeros_like(weight_VH) if needs[1] else None
    g_weight_UH = hidden_NH.new_empty(tile[1], hidden_NH.shape[1], dtype=wide) if needs[1] else None
    g_bias_V = None if bias_V is None or not needs[2] else torch.zeros_like(bias_V, dtype=wide)
    storage = hidden_NH.new_empty(math.prod(tile))
    for entry, token, weight_UH, logits_CU in _tiles(hidden_NH, weight_VH, bias_V, temperature, tile, storage):
        shifted_CU = logits_CU.to(wide).sub_(max_N[token, None])
        if slope_N1 is None or mean_N1 is None:
            terms_CU = shifted_CU.exp_().mul_(factor_N1[token])
        else:
            terms_CU = shifted_CU.exp()
            terms_CU *= _finite(shifted_CU).sub_(mean_N1[token]).mul_(slope_N1[token]).add_(factor_N1[token])
        columns_C1, inside_C1 = _columns(labels_N[token], entry)
        terms_CU.scatter_add_(1, columns_C1, inside_C1 * g_logps_N[token, None])
        if g_bias_V is not None:
            g_bias_V[entry] += terms_CU.sum(0)
        terms_CU = terms_CU.to(dtype)
        if g_hidden_NH is not None:
            add_product(g_hidden_NH[token], terms_CU, weight_UH)
        if g_weight_VH is not None and g_weight_UH is not None:
            sum_UH = g_weight_UH[: entry.stop - entry.start]
            if token.start == 0:
                sum_UH.zero_()
            add_product(sum_UH, terms_CU.T, hidden_NH[token])
            if token.stop == hidden_NH.shape[0]:
                g_weight_VH[entry] = sum_UH
    return (
        None if g_hidden_NH is None else g_hidden_NH.to(dtype),
        g_weight_VH,
        None if g_bias_V is None or bias_V is None else g_bias_V.to(bias_V.dtype),
    )


def _tiles(
    hidden_NH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, temperature: float, tile: tuple[int, int], storage: Tensor
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """``(entries, tokens, weight_UH, logits_CU)`` of each tile, all tokens of some entries first; the logits share ``storage``."""
    scale = 1.0 / temperature
    for entry in _slices(weight_VH.shape[0], tile[1]):
        weight_UH = weight_VH[entry].to(hidden_NH.dtype)
        bias_U = hidden_NH.new_zeros(()) if bias_V is None else bias_V[entry].to(hidden_NH.dtype)
        for token in _slices(hidden_NH.shape[0], tile[0]):
            shape = token.stop - token.start, entry.stop - entry.start
            logits_CU = storage[: math.prod(shape)].view(shape)
            # Bias and temperature cost no pass of their own, and round no second time; with beta = 0 the bias is not read.
            torch.addmm(bias_U, hidden_NH[token], weight_UH.T, beta=0.0 if bias_V is None else scale, alpha=scale, out=logits_CU)
            yield entry, token, weight_UH, logits_CU


@dataclass(frozen=True, slots=True)
class _RunningSoftmax:
    """Sums over the part of the vocabulary that was seen so far, one number a token, in float32 or wider; updated in place."""

    max_N: Tensor
    """The largest logit ``m``."""
    sum_N: Tensor
    """Sum of ``exp(z - m)``."""
    label_N: Tensor
    """The label's logit, once its tile was seen; nan before, and for ever where the vocabulary has no such entry."""
    moment_N: Tensor | None
    """Sum of ``exp(z - m) (z - m)``, for the entropy."""
    argmax_N: Tensor | None
    """The first index of the largest logit."""

    @classmethod
    def start(cls, num_tokens: int, dtype: torch.dtype, device: torch.device, with_entropy: bool, with_argmax: bool) -> _RunningSoftmax:
        """Nothing seen. The maximum is finite, so that a tile of nothing but ``-inf`` adds 0 and not nan."""
        zeros_4N = torch.zeros(4, num_tokens, dtype=dtype, device=device)
        return cls(
            zeros_4N[0].fill_(torch.finfo(dtype).min),
            zeros_4N[1],
            zeros_4N[2].fill_(float("nan")),
            zeros_4N[3] if with_entropy else None,
            torch.zeros(num_tokens, dtype=torch.int64, device=device) if with_argmax else None,
        )

    def part(self, tokens: slice) -> _RunningSoftmax:
        """Views of some tokens."""
        return _RunningSoftmax(
            self.max_N[tokens],
            self.sum_N[tokens],
            self.label_N[tokens],
            None if self.moment_N is None else self.moment_N[tokens],
            None if self.argmax_N is None else self.argmax_N[tokens],
        )


def _absorb(
    logits_CU: Tensor, first: int, labels_C: Tensor, running: _RunningSoftmax, *, keep_terms: bool, moments_CU: Tensor | None
) -> Tensor:
    """Takes the logits of vocabulary entries from ``first`` on into ``running``.

    Args:
        keep_terms: leave ``exp(z - m)`` in ``logits_CU``, with the new maximum ``m``; its contents are undefined without.
        moments_CU: is filled with ``exp(z - m) (z - m)``.

    Returns:
        ``m_old - m``, by token, ``[C]``: what the exponents of earlier terms must be shifted by.
    """
    wide_CU = logits_CU.to(running.max_N.dtype)
    columns_C1, inside_C1 = _columns(labels_C, slice(first, first + wide_CU.shape[1]))
    running.label_N.copy_(torch.where(inside_C1, wide_CU.gather(1, columns_C1), running.label_N[:, None])[:, 0])
    if running.argmax_N is None:
        top_C = wide_CU.amax(1)
    else:
        top_C, index_C = wide_CU.max(1)
        running.argmax_N.copy_(torch.where(top_C > running.max_N, index_C + first, running.argmax_N))
    top_C = torch.maximum(running.max_N, top_C)
    shift_C = running.max_N - top_C
    running.max_N.copy_(top_C)
    wide_CU.sub_(top_C[:, None])
    if running.moment_N is None:
        terms_CU = wide_CU.exp_()
    else:
        terms_CU = wide_CU.exp()
        running.moment_N.copy_(_shifted(running.moment_N, running.sum_N, shift_C)).add_(_finite(wide_CU).mul_(terms_CU).sum(1))
        if moments_CU is not None:
            moments_CU.copy_(wide_CU)
    running.sum_N.mul_(shift_C.exp()).add_(terms_CU.sum(1))
    if keep_terms and terms_CU is not logits_CU:
        logits_CU.copy_(terms_CU)
    return shift_C


def _columns(labels_C: Tensor, entry: slice) -> tuple[Tensor, Tensor]:
    """Which column of a tile each label is, ``[C, 1]``, and whether it is one at all; a column that exists in either case."""
    columns_C1 = (labels_C - entry.start)[:, None]
    width = entry.stop - entry.start
    return columns_C1.clamp(0, width - 1), (columns_C1 >= 0) & (columns_C1 < width)


def _finite(shifted: Tensor) -> Tensor:
    """``z - m`` with a number in place of ``-inf``, in place: times a probability of 0 that is 0, not nan.

    The least number would not do: what multiplies it before the probability does makes it ``-inf`` again.
    """
    return shifted.clamp_(min=_IMPOSSIBLE)


def _shifted(moment: Tensor, total: Tensor, shift: Tensor) -> Tensor:
    """``sum exp(z + s) (z + s) x`` from ``sum exp(z) z x``, ``sum exp(z) x`` and ``s``."""
    return torch.addcmul(moment, total, shift).mul_(shift.exp())
