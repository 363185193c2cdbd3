"""The contract of a row filter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol


class Filter(Protocol):
    """Says whether a row stays. A plain function ``f(row) -> bool`` is one too."""

    @abstractmethod
    def __call__(self, row: Mapping[str, Any]) -> bool:
        """True keeps ``row``."""
