"""Counts of one call that are the same each time: floating-point operations, and what torch dispatches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and attention in ``call``, forward and backward."""
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return int(counter.get_total_flops())


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatched:
    """What a call made torch do."""

    by_name: Mapping[str, int]
    """Operations by name, such as ``aten.mm.default``; views count too."""
    largest_numel: int
    """Elements of the largest tensor that an operation gave."""

    @property
    def num_ops(self) -> int:
        """Operations in all."""
        return sum(self.by_name.values())


def count_dispatched(call: Callable[[], object]) -> Dispatched:
    """Counts the operations of ``call``, forward and backward."""
    counter = _DispatchCounter()
    with counter:
        call()
    return Dispatched(by_name=dict(counter.by_name), largest_numel=counter.largest_numel)


class _DispatchCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_name: Counter[str] = Counter()
        self.largest_numel = 0

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.by_name[str(func)] += 1
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.largest_numel = max([self.largest_numel, *sizes])
        return result
