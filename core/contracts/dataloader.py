"""The contract of a data loader."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol


class DataLoader(Protocol):
    """Yields batches."""

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """Lists of rows, or collated batches where a processor is set."""
