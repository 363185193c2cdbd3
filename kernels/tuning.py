"""Launch sizes of the Triton kernels: one static table, keyed on kernel, device capability and row length.

A table, because Triton's autotuner times its choices at the first call of every shape: seconds of a user's time, noise in the choice, and
no way to run without a GPU. A row that names a capability was measured on it; a row without one is the default for every other device
and for the interpreter, chosen by reasoning alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

Capability = tuple[int, int]
"""Of a CUDA device, as ``torch.cuda.get_device_capability`` gives it: ``(9, 0)`` is Hopper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """How a kernel is launched."""

    blocks: Mapping[str, int]
    """The kernel's ``tl.constexpr`` block sizes by parameter name, powers of two."""
    num_warps: int = 4
    num_stages: int = 2
    """Depth of the software pipeline of loads."""

    @property
    def options(self) -> dict[str, int]:
        """Keyword arguments of the launch: ``kernel[grid](*arguments, **launch.options)``."""
        return {**self.blocks, "num_warps": self.num_warps, "num_stages": self.num_stages}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of the table."""

    launch: Launch
    capability: Capability | None = None
    """The device it was measured on; None: the default."""
    up_to: float = math.inf
    """The longest row of numbers (hidden size, vocabulary, ...) that it serves."""


TABLE: Mapping[str, Sequence[Row]] = {
    # Sixteen bytes a thread and load, four loads in flight: 8 bf16 x 32 lanes x 8 warps x 4.
    "linear_logprob": (
        Row(up_to=4096, launch=Launch(blocks={"BLOCK_V": 2048}, num_warps=4)),
        Row(launch=Launch(blocks={"BLOCK_V": 8192}, num_warps=8)),
    ),
    # A tile of about 4,096 numbers, 32 a thread of four warps; a longer row is a tile of its own, with 16 to 32 a thread.
    "rms_norm": (
        Row(up_to=128, launch=Launch(blocks={"BLOCK_N": 32})),
        Row(up_to=256, launch=Launch(blocks={"BLOCK_N": 16})),
        Row(up_to=512, launch=Launch(blocks={"BLOCK_N": 8})),
        Row(up_to=1024, launch=Launch(blocks={"BLOCK_N": 4})),
        Row(up_to=2048, launch=Launch(blocks={"BLOCK_N": 2})),
        Row(up_to=8192, launch=Launch(blocks={"BLOCK_N": 1}, num_warps=8)),
        Row(launch=Launch(blocks={"BLOCK_N": 1}, num_warps=32)),
    ),
    # Sixteen numbers a thread: two loads of 16 bytes in flight for each tensor.
    "swiglu": (Row(launch=Launch(blocks={"BLOCK_I": 2048})),),
    # As rms_norm; with the norm half of that, because angles and weights are in registers too.
    "rope": (
        Row(up_to=64, launch=Launch(blocks={"BLOCK_N": 64})),
        Row(up_to=128, launch=Launch(blocks={"BLOCK_N": 32})),
        Row(launch=Launch(blocks={"BLOCK_N": 16})),
    ),
    "qk_norm_rope": (
        Row(up_to=64, launch=Launch(blocks={"BLOCK_N": 32})),
        Row(up_to=128, launch=Launch(blocks={"BLOCK_N": 16})),
        Row(launch=Launch(blocks={"BLOCK_N": 8})),
    ),
}
"""Rows by kernel. The first that fits is taken, a measured one before a default; every kernel has a default without ``up_to``."""


def launch_for(kernel: str, size: int, device: torch.device) -> Launch:
    """The launch of ``kernel`` for rows of ``size`` numbers on ``device``.

    Raises:
        KeyError: no such kernel in the table.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    fitting = [row for row in TABLE[kernel] if size <= row.up_to]
    measured = [row for row in fitting if row.capability == capability]
    return (measured or [row for row in fitting if row.capability is None])[0].launch
