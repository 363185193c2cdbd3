"""A data loader, and wrong ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from twinkle.testing import Example


class GoodLoader:
    """Slices."""

    def __init__(self, dataset: Any, batch_size: int) -> None:
        self.batches = [dataset[first : first + batch_size] for first in range(0, len(dataset), batch_size)]

    def __iter__(self) -> Iterator[Any]:
        return iter([list(batch) for batch in self.batches])


class Tuples(GoodLoader):
    def __iter__(self) -> Iterator[Any]:
        return iter([tuple(batch) for batch in self.batches])


class DropsTheLast(GoodLoader):
    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches[:-1])


class Once(GoodLoader):
    def __init__(self, dataset: Any, batch_size: int) -> None:
        super().__init__(dataset, batch_size)
        self.all = iter(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return self.all


class OtherEachTime(GoodLoader):
    made = itertools.count()

    def __init__(self, dataset: Any, batch_size: int) -> None:
        super().__init__(dataset, batch_size)
        if next(self.made) % 2:
            self.batches.reverse()


GOOD = (GoodLoader, Example())
MUTANTS = {
    "gives_lists_of_rows": (Tuples, Example()),
    "gives_every_row_once": (DropsTheLast, Example()),
    "goes_through_several_epochs": (Once, Example()),
    "gives_the_same_order_again": (OtherEachTime, Example()),
}
