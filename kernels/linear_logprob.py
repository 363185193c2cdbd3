"""Log-probabilities of labels through an output projection, without ever holding the logits of all tokens.

With hidden states ``h_n``, projection ``W``, logits ``z_n = W h_n / t`` and ``p_n = softmax(z_n)``::

    logp_n = z_n[y_n] - logsumexp(z_n)         d logp_n / d h_n = (W[y_n] - p_n W) / t
    H_n    = logsumexp(z_n) - p_n . z_n        d H_n    / d h_n = -(p_n * (log p_n + H_n)) W / t

The derivative by ``h_n`` is a row of ``[N, H]`` that the gradient of each token only scales, so it is made in the forward pass, while the
logits of a chunk of tokens are at hand: 4 N H V operations in all, and ``chunk x V`` numbers at a time. Only a projection that is trained
itself needs the logits again, in the backward pass. Compare Apple's cut cross entropy (Wijmans et al. 2025, arXiv 2411.09009), which
recomputes them always, and Liger's fused linear cross entropy, which makes the gradient early for the mean loss alone.

Letters: N labelled tokens, H hidden size, V vocabulary, C tokens of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_BYTES = 32 * 2**20
"""Of one chunk's logits in their working precision: large enough for matrix products to be efficient, small beside the weights."""


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
) -> TokenDistribution:
    """Log-probabilities of ``labels_N`` under ``softmax((hidden W^T + bias) / temperature)``; differentiable in hidden, weight and bias.

    Args:
        labels_N: int64 in ``[0, V)``.
        chunk_size: tokens whose logits exist at a time; by memory without.
    """
    if torch.is_autocast_enabled(hidden_NH.device.type):
        dtype = torch.get_autocast_dtype(hidden_NH.device.type)
        hidden_NH, weight_VH = hidden_NH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
    size = _default_chunk(weight_VH) if chunk_size is None else chunk_size
    with torch.autocast(hidden_NH.device.type, enabled=False):
        logps_N, entropies_N, argmax_N = _LinearLogprob.apply(  # type: ignore[no-untyped-call]
            hidden_NH, weight_VH, bias_V, labels_N, temperature, with_entropy, with_argmax, size
        )
    return TokenDistribution(logps_N, entropies_N, argmax_N)


def linear_logprob_ref(
    hidden_NH: Tensor, weight_VH: Tensor, labels_N: Tensor, bias_V: Tensor | None = None, *, temperature: float = 1.0
) -> TokenDistribution:
    """The same from whole logits, in float32 or wider: what the fast path must equal."""
    wide = torch.promote_types(hidden_NH.dtype, torch.float32)
    logits_NV = hidden_NH.to(wide) @ weight_VH.to(wide).T
    if bias_V is not None:
        logits_NV = logits_NV + bias_V.to(wide)
    logps_NV = torch.log_softmax(logits_NV / temperature, dim=-1)
    entropies_N = -(logps_NV.exp() * logps_NV).sum(-1)
    return TokenDistribution(logps_NV.gather(-1, labels_N[:, None])[:, 0], entropies_N, logits_NV.argmax(-1))


def _default_chunk(weight_VH: Tensor) -> int:
    wide_bytes = torch.promote_types(weight_VH.dtype, torch.float32).itemsize
    return max(16, _CHUNK_BYTES // (weight_VH.shape[0] * wide_bytes))


def _logits(hidden_CH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, temperature: float) -> Tensor:
    """Logits of a chunk, in float32 or wider, in storage of their own."""
    logits_CV = hidden_CH @ weight_VH.T
    wide_CV = logits_CV.to(torch.promote_types(logits_CV.dtype, torch.float32))
    if bias_V is not None:
        wide_CV += bias_V
    if temperature != 1.0:
        wide_CV /= temperature
    return wide_CV


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
        chunk_size: int,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        wide = torch.promote_types(hidden_NH.dtype, torch.float32)
        logps_N = torch.empty(hidden_NH.shape[0], dtype=wide, device=hidden_NH.device)
        entropies_N = torch.empty_like(logps_N) if with_entropy else None
        argmax_N = torch.empty_like(labels_N) if with_argmax else None
        needs_hidden = ctx.needs_input_grad[0]
        d_logp_NH = torch.empty_like(hidden_NH) if needs_hidden else None
        d_entropy_NH = torch.empty_like(hidden_NH) if needs_hidden and with_entropy else None
        for first in range(0, hidden_NH.shape[0], chunk_size):
            part = slice(first, first + chunk_size)
            labels_C = labels_N[part]
            z_CV = _logits(hidden_NH[part], weight_VH, bias_V, temperature)
            if argmax_N is not None:
                argmax_N[part] = z_CV.argmax(-1)
            lse_C = z_CV.logsumexp(-1)
            logps_N[part] = z_CV.gather(-1, labels_C[:, None])[:, 0] - lse_C
            if d_logp_NH is None and entropies_N is None:
                continue
            logp_CV = z_CV.sub_(lse_C[:, None])
            if entropies_N is None:
                p_CV = logp_CV.exp_()
            else:
                p_CV = logp_CV.exp()
                h_C = -torch.linalg.vecdot(p_CV, logp_CV)
                entropies_N[part] = h_C
                if d_entropy_NH is not None:
                    weighted_CV = logp_CV.add_(h_C[:, None]).mul_(p_CV).to(weight_VH.dtype)
                    d_entropy_NH[part] = (weighted_CV @ weight_VH).div_(-temperature)
            if d_logp_NH is not None:
                d_logp_NH[part] = (weight_VH[labels_C] - p_CV.to(weight_VH.dtype) @ weight_VH).div_(temperature)
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, labels_N, d_logp_NH, d_entropy_NH)
        ctx.temperature, ctx.chunk_size = temperature, chunk_size
        if argmax_N is not None:
            ctx.mark_non_differentiable(argmax_N)
        return logps_N, entropies_N, argmax_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_logps_N: Tensor, g_entropies_N: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V, labels_N, d_logp_NH, d_entropy_NH = ctx.saved_tensors
        g_hidden_NH = None
        if d_logp_NH is not None:
            g_hidden_NH = d_logp_NH * g_logps_N[:, None].to(d_logp_NH.dtype)
            if d_entropy_NH is not None and g_entropies_N is not None:
                g_hidden_NH += d_entropy_NH * g_entropies_N[:, None].to(d_entropy_NH.dtype)
        if not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2]):
            return g_hidden_NH, None, None, None, None, None, None, None
        g_weight_VH = torch.zeros_like(weight_VH) if ctx.needs_input_grad[1] else None
        g_bias_V = torch.zeros_like(bias_V) if ctx.needs_input_grad[2] else None
        for first in range(0, hidden_NH.shape[0], ctx.chunk_size):
            part = slice(first, first + ctx.chunk_size)
            z_CV = _logits(hidden_NH[part], weight_VH, bias_V, ctx.temperature)
            logp_CV = z_CV.sub_(z_CV.logsumexp(-1, keepdim=True))
            p_CV = logp_CV.exp()
            # d logp[y] / d z = onehot(y) - p;  d H / d z = -p (log p + H)
            g_z_CV = p_CV * -g_logps_N[part, None]
            g_z_CV.scatter_add_(-1, labels_N[part, None], g_logps_N[part, None])
            if g_entropies_N is not None:
                h_C = -torch.linalg.vecdot(p_CV, logp_CV)
                g_z_CV -= p_CV.mul_(logp_CV.add_(h_C[:, None])) * g_entropies_N[part, None]
            g_z_CV /= ctx.temperature
            if g_weight_VH is not None:
                g_weight_VH.addmm_(g_z_CV.to(weight_VH.dtype).T, hidden_NH[part])
            if g_bias_V is not None:
                g_bias_V += g_z_CV.sum(0)
        return g_hidden_NH, g_weight_VH, g_bias_V, None, None, None, None, None
