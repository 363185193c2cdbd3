"""Batches of a stream, and the way back to a position in it: what was consumed is read again and dropped."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from twinkle.core.balanced_slice import balanced_slice
from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.plugins_builtin.dataset._dataset import Dataset

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a stream is after a batch."""

    epoch: int = 0
    epoch_start: int = 0
    """Rows of all batches of the epochs before."""
    offset: int = 0
    """Rows of the batches of this epoch so far."""

    @property
    def consumed(self) -> int:
        """Rows of all batches so far."""
        return self.epoch_start + self.offset


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamBatches:
    """The batches of the epoch in which ``start`` lies, from there on: ``(position after it, rows of this rank)``."""

    rows: Iterable[Any]
    batch_size: int
    min_batch_size: int
    num_ranks: int
    rank: int
    seed: int | None
    """Shuffles with a buffer; None keeps the order."""
    start: Position
    """Its offset may reach into later epochs, whose length nobody knows before they were read."""

    def __call__(self) -> Iterator[tuple[Position, list[Any]]]:
        position = self.start
        while True:
            rows = (row for row in self._open(position.epoch) if row is not None)
            offset = sum(1 for _ in islice(rows, position.offset))
            has_batch = False
            while len(batch := list(islice(rows, self.batch_size))) >= self.min_batch_size:
                has_batch = True
                offset += len(batch)
                here = Position(epoch=position.epoch, epoch_start=position.epoch_start, offset=offset)
                yield here, batch[balanced_slice(len(batch), self.num_ranks, self.rank)]
            if has_batch:
                return
            num_rows = offset + len(batch)
            rest = num_rows % self.batch_size
            num_samples = num_rows - (rest if rest < self.min_batch_size else 0)
            if num_samples == 0:
                raise InvalidData(f"the stream ended after {num_rows} rows, which make no batch: min_batch_size is {self.min_batch_size}")
            position = Position(
                epoch=position.epoch + 1, epoch_start=position.epoch_start + num_samples, offset=position.offset - num_samples
            )

    def _open(self, epoch: int) -> Iterator[Any]:
        if isinstance(self.rows, Dataset):
            return self.rows.stream(self.seed, epoch)
        if self.seed is not None:
            raise InvalidArgument(f"shuffle=True needs rows that can be shuffled, got {type(self.rows).__name__}")
        return iter(self.rows)
