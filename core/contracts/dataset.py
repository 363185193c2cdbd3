"""The contract of a data set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol


class Dataset(Protocol):
    """Rows that can be mapped and encoded."""

    @abstractmethod
    def map(self, preprocess_func: Any) -> Any:
        """Applies a preprocessor to every row, in place."""

    @abstractmethod
    def encode(self, add_generation_prompt: bool = False) -> Any:
        """Adds token ids and labels to every row, in place; the original columns stay."""

    @abstractmethod
    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows."""
