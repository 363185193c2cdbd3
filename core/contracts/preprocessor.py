"""The contract of a preprocessor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol


class Preprocessor(Protocol):
    """Turns a raw row into a trajectory. Pure; the row is not changed. A plain function ``f(row) -> dict`` is one too."""

    @abstractmethod
    def preprocess(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The trajectory (``messages`` and whatever else a template or a reward reads) that ``row`` stands for."""
