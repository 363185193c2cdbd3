"""The forward pass of transformers' attention layers, with the part between projections and attention left open.

Written after ``LlamaAttention.forward`` and ``Qwen3Attention.forward`` of transformers 5, which differ in that part alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from twinkle.plugins_builtin.kernel._trial import check_attributes, check_equal, random_input

_NEEDED = ("q_proj", "k_proj", "v_proj", "o_proj", "head_dim", "scaling", "attention_dropout", "layer_idx", "config")
_ELSEWHERE = ("sliding_window", "layer_type", "num_key_value_groups", "is_causal")
"""Handed on or read by attention functions."""


class Rotation(Protocol):
    """What happens to queries and keys before attention."""

    def __call__(self, layer: Any, q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, with the position in them."""


def attention_with(rotation: Rotation) -> Callable[..., Any]:
    """A forward pass that gives queries and keys to ``rotation``; attention itself is what the model's config names."""
    return partial(_forward, rotation)


def _forward(
    rotation: Rotation,
    layer: Any,
    hidden_states: Tensor,
    position_embeddings: Any = None,  # (cos, sin): optional in some layers' signatures, never left out
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    shape = (*hidden_states.shape[:-1], -1, layer.head_dim)
    q, k, v = (project(hidden_states).view(shape).transpose(1, 2) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
    q, k = rotation(layer, q, k, *position_embeddings)
    if past_key_values is not None:
        k, v = past_key_values.update(k, v, layer.layer_idx)
    if "sliding_window" in vars(layer):
        options["sliding_window"] = layer.sliding_window
    attend = ALL_ATTENTION_FUNCTIONS.get_interface(layer.config._attn_implementation, eager_attention_forward)
    dropout = layer.attention_dropout if layer.training else 0.0
    out, weights = attend(layer, q, k, v, attention_mask, dropout=dropout, scaling=layer.scaling, **options)
    return layer.o_proj(out.reshape(*hidden_states.shape[:-1], -1)), weights


def check_attention(layer: nn.Module, needed: tuple[str, ...], kernel: str) -> None:
    """Raises :class:`UnsuitableLayer` where an attention layer lacks what the forward pass reads, or has more."""
    check_attributes(layer, (*_NEEDED, *needed), kernel, idle=_ELSEWHERE)


def check_equal_attention(layer: nn.Module, forward: Callable[..., Any], kernel: str) -> None:
    """Tries ``forward`` with eager attention: others may not take the dtype that the weights have outside of autocast."""
    config: Any = copy.copy(layer.config)
    config._attn_implementation = "eager"
    probe = copy.copy(layer)
    probe.config = config
    hidden = random_input(layer, 1, 3, config.hidden_size)
    angles = random_input(layer, 1, 3, int(layer.head_dim)).double()  # type: ignore[arg-type]
    angles[..., angles.shape[-1] // 2 :] = angles[..., : angles.shape[-1] // 2]
    embedding = (angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype))
    check_equal(probe, forward, (hidden, embedding, None), kernel)
