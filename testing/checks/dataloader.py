"""What a data loader keeps: every row once an epoch, in real lists, in an order that can be had again."""

from __future__ import annotations

from typing import Any

from twinkle.testing.check import check, expect
from twinkle.testing.specimen import Specimen

NUM_ROWS = 10
BATCH_SIZE = 4


def _new(component: Specimen) -> Any:
    return component.build(dataset=[{"row": index} for index in range(NUM_ROWS)], batch_size=BATCH_SIZE)


@check("dataloader")
def gives_lists_of_rows(component: Specimen) -> None:
    """A batch is a real list of at most batch_size rows, each a mapping: users index, slice and add them up."""
    for batch in _new(component):
        expect(type(batch) is list, f"a batch is a {type(batch).__name__}")
        expect(0 < len(batch) <= BATCH_SIZE, f"a batch has {len(batch)} rows of {BATCH_SIZE}")
        expect(all(isinstance(row, dict) for row in batch), "a row is no dictionary")


@check("dataloader")
def gives_every_row_once(component: Specimen) -> None:
    """An epoch has every row exactly once, the last, smaller batch included unless it is told to drop it."""
    rows = sorted(row["row"] for batch in _new(component) for row in batch)
    expect(rows == list(range(NUM_ROWS)), f"an epoch gives the rows {rows}")


@check("dataloader")
def goes_through_several_epochs(component: Specimen) -> None:
    """A second iter() is a second epoch, with every row again."""
    loader = _new(component)
    counts = [sum(len(batch) for batch in loader) for _ in range(2)]
    expect(counts[0] == counts[1] > 0, f"the first epoch has {counts[0]} rows, the second {counts[1]}")


@check("dataloader")
def gives_the_same_order_again(component: Specimen) -> None:
    """Two loaders of the same arguments give the same batches, epoch by epoch: a resumed run sees the same data."""
    first, second = _new(component), _new(component)
    for epoch in range(2):
        expect(list(first) == list(second), f"epoch {epoch} of two equal loaders differs")


CHECKS = (gives_lists_of_rows, gives_every_row_once, goes_through_several_epochs, gives_the_same_order_again)
