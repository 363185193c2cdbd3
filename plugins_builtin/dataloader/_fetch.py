"""Rows by number, each asked for once; a row that cannot be had is replaced by another one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from twinkle.core.errors import InvalidData
from twinkle.plugins_builtin.dataset._dataset import Dataset

_logger = logging.getLogger(__name__)


@runtime_checkable
class Rows(Protocol):
    """Rows by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFetcher:
    """Fetches rows of ``rows`` in this process, or in a worker that it was sent to."""

    rows: Rows
    max_retries: int
    """How many other rows are tried in place of one that raises or is None."""
    seed: int

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> list[Any]:
        """The rows of ``(epoch, row numbers)``."""
        epoch, indices = key
        if isinstance(self.rows, Dataset) and not self.rows.encodes_on_access:
            return self.rows.fetch(indices)
        return [self._fetch(index, epoch) for index in indices]

    def _fetch(self, index: int, epoch: int) -> Any:
        reason = ""
        failure: Exception | None = None
        for candidate in self._candidates(index, epoch):
            try:
                row = self.rows[candidate]
            except Exception as error:  # noqa: BLE001  # whatever a row raises it is replaced and told, and the last one is raised
                failure, reason = error, f"{type(error).__name__}: {error}"
            else:
                if row is not None:
                    return row
                reason = "it is None"
            _logger.warning("row %d cannot be used and is replaced: %s", candidate, reason)
        raise InvalidData(
            f"row {index} cannot be used, nor can the {self.max_retries} rows that were tried in its place; the last: {reason}"
        ) from failure

    def _candidates(self, index: int, epoch: int) -> Iterator[int]:
        """``index``, then rows drawn from seed, epoch and index: the same in every process and after a resume."""
        yield index
        draws = np.random.Generator(np.random.PCG64((self.seed, epoch, index)))
        for _ in range(self.max_retries):
            yield int(draws.integers(len(self.rows)))
