"""The device that a kernel runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Inside the block the GPU that ``x`` lies on is the current one: Triton launches there, wherever the tensors of a kernel are."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
