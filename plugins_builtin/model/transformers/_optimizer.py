"""An optimizer over the parameters of a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from twinkle.core.components import build_resolved
from twinkle.core.resolved import Resolved
from twinkle.core.signature import named_parameters
from twinkle.plugins_builtin.model._flat_form import FlatForm

_IMPLEMENTATIONS = ("fused", "foreach", "capturable", "differentiable")


def make_optimizer(
    resolved: Resolved, init: dict[str, Any], parameters: Mapping[str, torch.nn.Parameter], lr: float, weight_decay: float, params: Any
) -> tuple[Any, FlatForm | None]:
    """The optimizer that ``resolved`` names, and its flat form where it has one.

    Args:
        init: its own further arguments.
        parameters: are trained, in two groups (see :func:`decay_groups`), unless ``params`` says what is.
    """
    if not isinstance(resolved.cls, type):
        return build_resolved(resolved, init), None
    offered = {"params": params, "lr": lr, "weight_decay": weight_decay}
    if params is not None:
        return build_resolved(resolved, init, offered), None
    takes_decay = "weight_decay" in named_parameters(resolved.cls)
    offered["params"] = decay_groups(parameters, weight_decay if takes_decay else None)
    if resolved.cls in (torch.optim.Adam, torch.optim.AdamW) and _may_be_fused(parameters, init):
        offered["fused"] = True  # one pass over the weights instead of a dozen, and a step counter that the host does not read
    optimizer = build_resolved(resolved, init, offered)
    return optimizer, FlatForm.of(optimizer)


def decay_groups(parameters: Mapping[str, torch.nn.Parameter], weight_decay: float | None) -> list[dict[str, Any]]:
    """Two parameter groups: matrices, and what has one dimension (biases and norms), which is not decayed."""
    groups = []
    for is_matrix, decay in ((True, weight_decay), (False, 0.0)):
        members = {name: p for name, p in parameters.items() if (p.dim() > 1) == is_matrix and p.requires_grad}
        if members:
            options = {} if weight_decay is None else {"weight_decay": decay}
            groups.append({"params": list(members.values()), "param_names": list(members), **options})
    return groups


def _may_be_fused(parameters: Mapping[str, torch.nn.Parameter], init: Mapping[str, Any]) -> bool:
    is_free = not any(name in init for name in _IMPLEMENTATIONS)
    return is_free and all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters.values())
