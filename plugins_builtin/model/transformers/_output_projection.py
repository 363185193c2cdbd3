"""The output projection taken out of a model's forward pass, so that its logits need not all exist at once."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinkle.plugins_builtin.model.transformers._hook import is_hooked
from twinkle.plugins_builtin.model.transformers._replaced_forward import replaced_forward

_LARGEST_LOGIT = 100.0
"""Of those that are tried: far above every soft cap."""


def hidden_states_as_logits(projection: torch.nn.Linear) -> AbstractContextManager[None]:
    """Inside the block the model's ``logits`` are the hidden states that ``projection`` would have got."""
    return replaced_forward(projection, _identity)


def _identity(hidden: Tensor) -> Tensor:
    return hidden


def is_plain(model: PreTrainedModel, projection: torch.nn.Linear) -> bool:
    """Whether ``projection`` still makes the logits of ``model`` by weight and bias alone: no adapter, patch or hook was put over it."""
    is_whole = type(projection) is torch.nn.Linear and "forward" not in vars(projection) and not is_hooked(projection)
    return is_whole and model.get_output_embeddings() is projection


def separable_projection(model: PreTrainedModel) -> torch.nn.Linear | None:
    """The linear layer that makes the logits of ``model``, or None where more than that happens to them (soft caps, scales).

    It is tried on two tokens rather than concluded from names: what a model does after its projection is written nowhere else. In place of
    the projection's own result, which may be zero before training, stand numbers of every size.
    """
    projection = model.get_output_embeddings()
    if not isinstance(projection, torch.nn.Linear) or not is_plain(model, projection):
        return None
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            is_last = all(_gives_back(model, projection, size) for size in (projection.out_features, projection.in_features))
    finally:
        model.train(was_training)
    return projection if is_last else None


def _gives_back(model: PreTrainedModel, projection: torch.nn.Linear, size: int) -> bool:
    """Whether the logits of ``model`` are what ``projection`` gives, where that is ``size`` numbers a token."""
    given = torch.linspace(-_LARGEST_LOGIT, _LARGEST_LOGIT, size, device=model.device).to(projection.weight.dtype)

    def give(hidden: Tensor) -> Tensor:
        return given.expand(*hidden.shape[:-1], size)

    with replaced_forward(projection, give):
        logits = model(input_ids=torch.tensor([[0, 1]], device=model.device), use_cache=False).logits
    return logits.shape[-1] == size and torch.equal(logits, given.to(logits.dtype).expand_as(logits))
