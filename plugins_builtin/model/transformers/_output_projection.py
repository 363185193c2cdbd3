"""The output projection taken out of a model's forward pass, so that its logits need not all exist at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel


@contextmanager
def hidden_states_as_logits(projection: torch.nn.Linear) -> Iterator[None]:
    """Inside the block the model's ``logits`` are the hidden states that ``projection`` would have got."""
    own = vars(projection)
    before = own.get("forward")
    own["forward"] = _identity
    try:
        yield
    finally:
        del own["forward"]
        if before is not None:
            own["forward"] = before


def _identity(hidden: Tensor) -> Tensor:
    return hidden


def separable_projection(model: PreTrainedModel) -> torch.nn.Linear | None:
    """The linear layer that makes the logits of ``model``, or None where more than that happens to them (soft caps, scales).

    It is tried on two tokens rather than concluded from names: what a model does after its projection is written nowhere else.
    """
    projection = model.get_output_embeddings()
    if type(projection) is not torch.nn.Linear:
        return None
    ids = torch.tensor([[0, 1]], device=model.device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            with hidden_states_as_logits(projection):
                hidden = model(input_ids=ids, use_cache=False).logits
            same = hidden.shape[-1] == projection.in_features and torch.allclose(projection(hidden), logits, rtol=1e-4, atol=1e-5)
    finally:
        model.train(was_training)
    return projection if same else None
