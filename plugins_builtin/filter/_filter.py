"""The base of row filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Filter:
    """Says whether a row stays. Subclasses write ``__call__``."""

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """True keeps ``row``."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(row)")


DataFilter = Filter
"""The published name."""
