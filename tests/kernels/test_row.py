"""Leading dims are folded without a copy wherever a kernel can still reach every row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from twinkle.kernels._row import MAX_ROW, fits_triton, fold_rows


def starts(sizes: tuple[int, int, int], strides: tuple[int, int, int]) -> list[int]:
    """Where the kernels look for each row."""
    _, b, c = sizes
    return [n // c // b * strides[0] + n // c % b * strides[1] + n % c * strides[2] for n in range(math.prod(sizes))]


def views(x: Tensor) -> list[Tensor]:
    return [x, x.transpose(0, 1), x[:, ::2], x[:1].expand(x.shape), x.transpose(1, 2), x[..., :3]]


@pytest.mark.parametrize("view", range(6))
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (1, 1, 1, 5), (4, 4, 4, 1)])
def test_every_row_is_found_where_it_is(shape: tuple[int, ...], view: int) -> None:
    """Mutants: strides folded over a gap, sizes in the other order, a size of one that hides a stride."""
    numbers = torch.arange(math.prod(shape), dtype=torch.float32).view(shape)
    x = views(numbers)[view]
    other = torch.empty_like(x, memory_format=torch.contiguous_format)
    sizes, (row, same), (strides, other_strides) = fold_rows(x, other)
    assert row is x and same is other
    storage = numbers.flatten()
    for start, other_start, expected in zip(starts(sizes, strides), starts(sizes, other_strides), x.reshape(-1, x.shape[-1]), strict=True):
        torch.testing.assert_close(storage[start : start + x.shape[-1]], expected)
        assert other_start % x.shape[-1] == 0
    assert starts(sizes, other_strides) == [n * x.shape[-1] for n in range(math.prod(sizes))]


def test_what_no_three_strides_can_reach_is_copied() -> None:
    x = torch.randn(3, 4, 5, 6, 7).permute(3, 1, 0, 2, 4)
    sizes, (row,), (strides,) = fold_rows(x)
    assert row.is_contiguous() and sizes == (360, 1, 1) and strides == (7, 0, 0)
    spread = torch.randn(4, 6)[:, ::2]
    assert fold_rows(spread)[1][0].is_contiguous()


def test_triton_is_for_cuda_floats_of_bounded_rows() -> None:
    assert not fits_triton(torch.randn(2, 3))

    class OnCuda:
        is_cuda = True

        def __init__(self, dtype: torch.dtype, length: int) -> None:
            self.dtype, self.shape = dtype, (1, length)

    seen = [fits_triton(OnCuda(dtype, n)) for dtype, n in ((torch.float16, MAX_ROW), (torch.float16, MAX_ROW + 1), (torch.float64, 8))]  # type: ignore[arg-type]
    assert seen == [True, False, False]
