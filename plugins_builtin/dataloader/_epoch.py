"""One epoch as global batches of row numbers: which rows, in which order, from which position on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochPlan:
    """How ``num_rows`` become batches; the same on every rank."""

    num_rows: int
    batch_size: int
    min_batch_size: int
    """A last batch with fewer rows is left out."""
    shuffle: bool
    seed: int

    @property
    def num_batches(self) -> int:
        """Batches of an epoch, exactly as many as come."""
        full, rest = divmod(self.num_rows, self.batch_size)
        return full + (rest >= self.min_batch_size)

    @property
    def num_samples(self) -> int:
        """Rows of all batches of an epoch."""
        return min(self.num_batches * self.batch_size, self.num_rows)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The row numbers of ``epoch`` in order: a pure function of seed, epoch and number of rows."""
        if not self.shuffle:
            return np.arange(self.num_rows)
        return np.random.Generator(np.random.PCG64((self.seed, epoch))).permutation(self.num_rows)

    def batches(self, epoch: int, num_skipped: int) -> Iterator[NDArray[np.int64]]:
        """The global batches of ``epoch`` after its first ``num_skipped`` rows."""
        order = self.order(epoch)
        for start in range(num_skipped, self.num_samples, self.batch_size):
            yield order[start : min(start + self.batch_size, self.num_samples)]
