"""Which parameters are decayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def decay_groups(parameters: Mapping[str, torch.nn.Parameter], weight_decay: float | None) -> list[dict[str, Any]]:
    """Two parameter groups: matrices, and what has one dimension (biases and norms), which is not decayed."""
    groups = []
    for is_matrix, decay in ((True, weight_decay), (False, 0.0)):
        members = {name: p for name, p in parameters.items() if (p.dim() > 1) == is_matrix and p.requires_grad}
        if members:
            options = {} if weight_decay is None else {"weight_decay": decay}
            groups.append({"params": list(members.values()), "param_names": list(members), **options})
    return groups
