"""The output projection taken out of a model's forward pass, so that its logits need not all exist at once."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

from twinkle.plugins_builtin.model.transformers._replaced_forward import replaced_forward


def hidden_states_as_logits(projection: torch.nn.Linear) -> AbstractContextManager[None]:
    """Inside the block the model's ``logits`` are the hidden states that ``projection`` would have got."""
    return replaced_forward(projection, _identity)


def _identity(hidden: Tensor) -> Tensor:
    return hidden


def is_plain(model: PreTrainedModel, projection: torch.nn.Linear) -> bool:
    """Whether ``projection`` still makes the logits of ``model`` by weight and bias alone: no adapter, patch or hook was put over it."""
    is_hooked = bool(projection._forward_hooks or projection._forward_pre_hooks)
    is_whole = type(projection) is torch.nn.Linear and "forward" not in vars(projection) and not is_hooked
    return is_whole and model.get_output_embeddings() is projection


def separable_projection(model: PreTrainedModel) -> torch.nn.Linear | None:
    """The linear layer that makes the logits of ``model``, or None where more than that happens to them (soft caps, scales).

    It is tried on two tokens rather than concluded from names: what a model does after its projection is written nowhere else.
    """
    projection = model.get_output_embeddings()
    if not isinstance(projection, torch.nn.Linear) or not is_plain(model, projection):
        return None
    ids = torch.tensor([[0, 1]], device=model.device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            with hidden_states_as_logits(projection):
                hidden = model(input_ids=ids, use_cache=False).logits
            same = hidden.shape[-1] == projection.in_features and torch.allclose(
                linear(hidden, projection.weight, projection.bias), logits, rtol=1e-4, atol=1e-5
            )
    finally:
        model.train(was_training)
    return projection if same else None
