"""Attention over a flat batch that never sees two sequences at once and never makes a ``T x T`` mask.

On the CPU sequences are attended one by one, as the views that they are: nothing is copied and nothing padded, and a call costs less than
that would. On other devices, where calls are dear, sequences of similar length are gathered into a right-padded bucket and attended with
the causal kernel, which needs no mask: a real token attends only to tokens before it, and those of its own row are real. What padded
queries compute is dropped. Where a layer attends to a window, blocks of queries see the keys that they may: the work grows with the length,
not with its square. Boundaries come as an explicit plan, so a model that is called by anybody else, for generation say, keeps its
own attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from twinkle.core.errors import InvalidConfig
from twinkle.plugins_builtin.processor._flat_batch import to_device

NAME = "twinkle_varlen"

# Lengths within a quarter of each other share a bucket, and so do all under 32: there a call costs more than the padding.
_BUCKET_RATIO = 1.25
_SHORT = 32

_WINDOW_BLOCK = 256
"""Queries that attend at once where a window is narrower than that: with fewer, calls are too many."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Where the tokens of a batch stand in right-padded rows of similar length."""

    shapes: tuple[tuple[int, int], ...]
    """Sequences and tokens of the longest, of each bucket."""
    gather: Tensor
    """int64: flat token of each place of all buckets, 0 for padding."""
    scatter: Tensor
    """int64 ``[T]``: place of each token."""

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> Buckets:
        """The buckets for sequences of ``lengths`` that lie one after the other."""
        starts = [0, *accumulate(lengths)]
        groups: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            groups.setdefault(math.ceil(math.log(max(length, _SHORT), _BUCKET_RATIO)), []).append(index)
        shapes = []
        gathers = []
        scatter = np.empty(starts[-1], dtype=np.int64)
        offset = 0
        for _, members in sorted(groups.items()):
            longest = max(lengths[i] for i in members)
            gather = np.zeros((len(members), longest), dtype=np.int64)
            for row, i in enumerate(members):
                gather[row, : lengths[i]] = np.arange(starts[i], starts[i + 1])
                scatter[starts[i] : starts[i + 1]] = np.arange(lengths[i]) + offset + row * longest
            shapes.append((len(members), longest))
            gathers.append(gather.reshape(-1))
            offset += gather.size
        return cls(tuple(shapes), to_device(np.concatenate(gathers), device), to_device(scatter, device))


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How a flat batch is attended; made once a batch and used by every layer."""

    lengths: tuple[int, ...]
    """Of the sequences, which lie one after the other."""
    buckets: Buckets | None
    """None: one by one, or all at once where they are equally long."""

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> AttentionPlan:
        """The plan for sequences of ``lengths``."""
        is_even = min(lengths) == max(lengths)
        return cls(lengths, None if is_even or device.type == "cpu" else Buckets.of(lengths, device))


class PlanNotPassedOn(InvalidConfig):
    """A model that keeps the keywords of its call from its attention."""


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
    attention_plan: AttentionPlan | None = None,
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
    if attention_plan is None:
        raise PlanNotPassedOn(f"{type(module).__name__} does not get the keywords that its model is called with")
    for feature in ("softcap", "s_aux", "position_bias"):
        if rest.get(feature) is not None:
            raise InvalidConfig(
                f"{type(module).__name__} attends with {feature!r}, which the flat path does not have: pass attn_implementation='eager'"
            )
    attend_rows = partial(_attend_rows, window=sliding_window, dropout=dropout, scaling=scaling)
    if attention_plan.buckets is not None:
        return _attend_buckets(attend_rows, (query, key, value), attention_plan.buckets), None
    num_sequences, longest = len(attention_plan.lengths), max(attention_plan.lengths)
    if num_sequences * longest == query.shape[2]:
        rows = (t[0].view(t.shape[1], num_sequences, longest, t.shape[3]).transpose(0, 1) for t in (query, key, value))
        return attend_rows(*rows).transpose(1, 2).flatten(0, 1)[None], None
    parts = (t.split_with_sizes(attention_plan.lengths, dim=2) for t in (query, key, value))
    return torch.cat([attend_rows(*part).transpose(1, 2) for part in zip(*parts, strict=True)], dim=1), None


def _attend_buckets(attend_rows: Callable[..., Tensor], states: tuple[Tensor, ...], buckets: Buckets) -> Tensor:
    sizes = [num_sequences * length for num_sequences, length in buckets.shapes]
    parts = (t.transpose(1, 2)[0].index_select(0, buckets.gather).split_with_sizes(sizes) for t in states)
    attended = []
    for shape, *part in zip(buckets.shapes, *parts, strict=True):
        rows = (t.unflatten(0, shape).transpose(1, 2) for t in part)
        attended.append(attend_rows(*rows).transpose(1, 2).flatten(0, 1))
    return torch.cat(attended).index_select(0, buckets.scatter)[None]


def _attend_rows(query: Tensor, key: Tensor, value: Tensor, window: int | None, dropout: float, scaling: float | None) -> Tensor:
    """``[S, heads, L, dim]``, each row by itself."""
    length = query.shape[2]
    attend_some = partial(scaled_dot_product_attention, dropout_p=dropout, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])
    if window is None or length <= window:
        return attend_some(query, key, value, is_causal=True)
    block = max(window, _WINDOW_BLOCK)
    attended = []
    for start in range(0, length, block):
        queries, keys = slice(start, start + block), slice(max(0, start - window + 1), start + block)
        mask = _window_mask(range(length)[queries], range(length)[keys], window, query.device)
        attended.append(attend_some(query[:, :, queries], key[:, :, keys], value[:, :, keys], attn_mask=mask))
    return torch.cat(attended, dim=2)


def _window_mask(queries: range, keys: range, window: int, device: torch.device) -> Tensor:
    """bool ``[queries, keys]``: a key not after its query, nor as far back as ``window``."""
    distance = torch.arange(queries.start, queries.stop, device=device)[:, None] - torch.arange(keys.start, keys.stop, device=device)
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
