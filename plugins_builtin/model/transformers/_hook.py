"""Whether hooks look at what a module computes, so that it must be computed as it stands."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import PreTrainedModel


def is_hooked(module: torch.nn.Module) -> bool:
    """Whether anything is called with what goes into ``module`` or comes out of it, or with gradients of that."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)


def outputs_are_hooked(model: torch.nn.Module) -> bool:
    """Whether a hook sees, and may change, what ``model``, a wrapper of it or the model inside gives back.

    The hooks of torch's own sharding do not look at values.
    """
    for module in _unwrapping(model):
        hooks = [*module._forward_hooks.values(), *module._backward_hooks.values(), *module._backward_pre_hooks.values()]
        if any(not hook.__module__.startswith("torch.distributed.") for hook in hooks):
            return True
    return False


def _unwrapping(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """``model``, and through the wrappers of torch and PEFT down to the model of transformers."""
    inner: torch.nn.Module | None = model
    while inner is not None:
        yield inner
        children = dict(inner.named_children())
        inner = None if isinstance(inner, PreTrainedModel) else children.get("module", children.get("base_model", children.get("model")))
