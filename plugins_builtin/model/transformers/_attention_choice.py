"""How a model attends to a flat batch without one sequence seeing another: found out on a few tokens, as it is written nowhere.

A model may carry more than attention from token to token (convolutions, recurrent states), make masks that do not look at positions,
count positions over the whole row, or keep from its attention what we pass on. Of two sequences in one row the second must give what it
gives alone, and the same whatever the first one is; a model of which it does not is run on a padded view.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinkle.core.errors import InvalidConfig
from twinkle.plugins_builtin.model.transformers._forward import Attention, flat_arguments
from twinkle.plugins_builtin.model.transformers._varlen_attention import PlanNotPassedOn, varlen_attention
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch

_FIT_FOR_A_TRIAL = frozenset({"full_attention", "sliding_attention", "attention"})
"""Types of layers that few tokens tell about. Chunks of attention begin anew after thousands, and what a convolution or a state carries
over may be too little to be seen before training."""
_NUM_TOKENS = 6, 9
"""Of the two sequences."""


def attention_of(model: PreTrainedModel) -> Attention:
    """The best way that is right for ``model``: by plan, by its own implementation, on a padded view."""
    if not model._supports_attention_backend or not _FIT_FOR_A_TRIAL.issuperset(_layer_types(model)):
        return "padded"
    ways: tuple[Attention, ...] = ("varlen", "packed") if model.config._attn_implementation == "sdpa" else ("packed",)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return next((way for way in ways if _keeps_sequences_apart(model, way)), "padded")
    finally:
        model.train(was_training)


def _layer_types(model: PreTrainedModel) -> list[str]:
    settings = model.config.to_dict()
    types: list[str] | None = settings.get("layer_types")
    return types or []


def _keeps_sequences_apart(model: PreTrainedModel, attention: Attention) -> bool:
    first, second = _NUM_TOKENS
    vocabulary_size = model.get_input_embeddings().weight.shape[0]
    numbers = [(7 * number + 3) % vocabulary_size for number in range(2 * first + second)]
    before, other_before, behind = numbers[:first], numbers[first : 2 * first], numbers[2 * first :]
    try:
        seen = _behind(model, attention, before, behind)
        seen_otherwise = _behind(model, attention, other_before, behind)
    except PlanNotPassedOn:
        return False
    except InvalidConfig:  # the model has something that this way lacks: what to do is said to whoever trains it
        return True
    alone = _hidden(model, {"input_ids": torch.tensor([behind], device=model.device), "use_cache": False})
    is_wide = alone.dtype.itemsize >= 4
    # Two rows of the same lengths are computed alike, but for the number of tokens that an expert gets; another shape rounds otherwise.
    leaks = _differ(seen, seen_otherwise) > (2e-6 if is_wide else 1e-2)
    return not leaks and _differ(seen, alone) <= (1e-4 if is_wide else 5e-2)


def _behind(model: PreTrainedModel, attention: Attention, before: list[int], behind: list[int]) -> Tensor:
    batch = FlatBatch.from_features([{"input_ids": ids, "labels": ids} for ids in (before, behind)], model.device)
    with varlen_attention(model) if attention == "varlen" else nullcontext():
        return _hidden(model, flat_arguments(batch, attention))[:, len(before) :]


def _hidden(model: PreTrainedModel, arguments: Mapping[str, Any]) -> Tensor:
    """What the output projection gets, which tells the tokens apart even where it is zero; the logits where it is not found."""
    projection = model.get_output_embeddings()
    if not isinstance(projection, torch.nn.Module):
        logits: Tensor = model(**arguments).logits
        return logits
    got: list[Tensor] = []
    handle = projection.register_forward_pre_hook(lambda _, args: got.append(args[0]))
    try:
        model(**arguments)
    finally:
        handle.remove()
    return got[0]


def _differ(a: Tensor, b: Tensor) -> float:
    """The largest distance between two vectors of a token, as a share of the second."""
    distance = (a.double() - b.double()).norm(dim=-1) / b.double().norm(dim=-1).clamp(min=1e-12)
    return float(distance.max())
