"""Adding numbers up over the ranks of a process group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def sum_over_ranks(values: Sequence[Tensor | float], process_group: dist.ProcessGroup | None) -> list[float]:
    """The sums of ``values`` (scalars) over ``process_group``, read back from the device; their own values where a process is alone."""
    device = next((v.device for v in values if isinstance(v, Tensor)), torch.device("cpu"))
    stacked = torch.stack([torch.as_tensor(v, dtype=torch.float64, device=device) for v in values])
    if process_group is not None:
        dist.all_reduce(stacked, group=process_group)
    return [float(v) for v in stacked.tolist()]
