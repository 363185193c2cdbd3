"""Fresh memory in pages of 2 MiB.

A buffer that is larger than what the C library keeps for reuse is new memory every time, and the kernel clears it page by page at first
touch. In pages of 4 KiB that takes longer than the products which fill the gradient of stacked expert weights.
"""

from __future__ import annotations

import math
import mmap
import sys
from contextlib import suppress

import torch
from torch import Tensor

_LARGE_BYTES = 32 * 2**20
"""glibc reuses freed blocks up to this size at most (``M_MMAP_THRESHOLD``), and then no page is new."""


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """``torch.empty``, on huge pages where that is host memory and large."""
    num_bytes = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or num_bytes < _LARGE_BYTES or sys.platform != "linux":
        return torch.empty(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a Linux built without huge pages refuses the advice; the memory is the same
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
