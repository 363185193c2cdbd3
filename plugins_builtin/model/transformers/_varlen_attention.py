"""Attention over a flat batch that never sees two sequences at once and never makes an ``T x T`` mask.

Sequences of similar length are gathered into a right-padded bucket and attended with the causal kernel, which needs no mask: a real token
attends only to tokens before it, and those of its own row are real. What padded queries compute is dropped. Boundaries come as an explicit
plan, so a model that is called by anybody else, for generation say, keeps its own attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from twinkle.core.errors import InvalidConfig

NAME = "twinkle_varlen"

# Lengths within a quarter of each other share a bucket, and so do all under 32: there a call costs more than the padding.
_BUCKET_RATIO = 1.25
_SHORT = 32


@dataclass(frozen=True, slots=True)
class Bucket:
    """Sequences that are attended together."""

    num_sequences: int
    max_length: int
    gather: Tensor | None
    """int64 ``[num_sequences * max_length]``: flat token of each place, 0 for padding; None: the bucket is the batch as it lies."""


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How a flat batch is attended; made once a batch and used by every layer."""

    buckets: tuple[Bucket, ...]
    scatter: Tensor | None
    """int64 ``[T]``: place of each token in the concatenated buckets; None where they lie as the tokens do."""

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> AttentionPlan:
        """The plan for sequences of ``lengths`` that lie one after the other."""
        if min(lengths) == max(lengths):
            return cls((Bucket(len(lengths), lengths[0], None),), None)
        starts = [0, *accumulate(lengths)]
        groups: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            groups.setdefault(math.ceil(math.log(max(length, _SHORT), _BUCKET_RATIO)), []).append(index)
        buckets = []
        scatter = torch.empty(starts[-1], dtype=torch.int64)
        offset = 0
        for _, members in sorted(groups.items()):
            longest = max(lengths[i] for i in members)
            gather = torch.zeros(len(members), longest, dtype=torch.int64)
            for row, i in enumerate(members):
                gather[row, : lengths[i]] = torch.arange(starts[i], starts[i + 1])
                scatter[starts[i] : starts[i + 1]] = torch.arange(lengths[i]) + offset + row * longest
            buckets.append(Bucket(len(members), longest, gather.reshape(-1).to(device, non_blocking=True)))
            offset += gather.numel()
        return cls(tuple(buckets), scatter.to(device, non_blocking=True))


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    attention_plan: AttentionPlan,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Causal attention of a flat batch, with the signature that transformers calls.

    Args:
        query: ``[1, heads, T, dim]``; key and value may have fewer heads.

    Returns:
        ``[1, T, heads, dim]``, and no weights.

    Raises:
        InvalidConfig: the model's attention has a feature that this path lacks.
    """
    for feature in ("softcap", "s_aux", "position_bias"):
        if rest.get(feature) is not None:
            raise InvalidConfig(
                f"{type(module).__name__} attends with {feature!r}, which the flat path does not have: pass attn_implementation='eager'"
            )
    tokens = [t.transpose(1, 2)[0] for t in (query, key, value)]
    attended = []
    for bucket in attention_plan.buckets:
        shape = (bucket.num_sequences, bucket.max_length)
        gathered = (t if bucket.gather is None else t.index_select(0, bucket.gather) for t in tokens)
        q, k, v = (t.reshape(*shape, *t.shape[1:]).transpose(1, 2) for t in gathered)
        mask = _window_mask(bucket.max_length, sliding_window, q.device)
        out = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
        attended.append(out.transpose(1, 2).flatten(0, 1))
    out_THD = attended[0] if len(attended) == 1 else torch.cat(attended)
    return (out_THD if attention_plan.scatter is None else out_THD.index_select(0, attention_plan.scatter))[None], None


def _window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    if window is None or length <= window:
        return None
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (distance >= 0) & (distance < window)


@contextmanager
def varlen_attention(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block ``model`` attends by plan. It must span the backward pass too: recomputed layers look it up again."""
    AttentionInterface.register(NAME, attend)
    before = model.config._attn_implementation
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before
