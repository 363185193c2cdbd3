"""Counts of a product whose operations are known by hand."""

from __future__ import annotations

import torch

from benchmarks.counting import count_dispatched, count_flops


def test_products_are_counted_forward_and_backward() -> None:
    """3 x 8 by 8 x 4: 2 * 3 * 8 * 4 operations, and as many again for the one gradient that is asked for."""
    x, weight = torch.randn(3, 8), torch.randn(8, 4, requires_grad=True)
    assert count_flops(lambda: (x @ weight).sum()) == 192
    assert count_flops(lambda: (x @ weight).sum().backward()) == 384


def test_operations_are_counted_by_name_with_the_largest_result() -> None:
    x, y = torch.randn(5, 2), torch.randn(2, 7)
    found = count_dispatched(lambda: (x @ y).sum() + 1)
    assert found.by_name == {"aten.mm.default": 1, "aten.sum.default": 1, "aten.add.Tensor": 1}
    assert (found.num_ops, found.largest_numel) == (3, 35)
