"""Sums of matrix products."""

from __future__ import annotations

import torch
from torch import Tensor


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right``; where ``total`` is wider, each product is rounded once and their sum is not."""
    if total.dtype == left.dtype:
        torch.addmm(total, left, right, out=total)
    else:
        total.add_(left @ right)
