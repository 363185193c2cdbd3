"""What the Triton kernels over rows share: where a row starts, and how many programs share the rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_PROGRAMS_PER_MULTIPROCESSOR = 2
_PROGRAMS_INTERPRETED = 3


@triton.jit  # type: ignore[untyped-decorator]
def row_start(row: tl.tensor, sizes: tl.tuple, strides: tl.tuple) -> tl.tensor:
    """Where ``row`` of three folded leading dims starts, in int64: tensors may hold more than 2^31 numbers, row counts may not."""
    _, size_b, size_c = sizes
    outer = row // size_c
    return (
        (outer // size_b).to(tl.int64) * strides[0] + (outer % size_b).to(tl.int64) * strides[1] + (row % size_c).to(tl.int64) * strides[2]
    )


def num_sharing_programs(num_tiles: int, device: torch.device) -> int:
    """Programs that share ``num_tiles`` tiles, each with a partial sum of its own; a number that only the device decides.

    Two a multiprocessor: while one waits for its loads the other computes, and at 8,192 rows the partial sums, written and read once in
    float32, are 5 % of the bytes. The order of every sum is fixed, so results repeat to the bit, which sums by atomic addition do not.
    """
    if device.type != "cuda":
        return min(num_tiles, _PROGRAMS_INTERPRETED)
    return min(num_tiles, _PROGRAMS_PER_MULTIPROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count)
