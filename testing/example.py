"""What the checks cannot invent about a component: how it is built, and what it is fed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Example:
    """How a component is built. Kinds whose checks need more have a class of their own."""

    init: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    """Arguments of its constructor, or a function that makes them anew for each instance."""

    def arguments(self) -> dict[str, Any]:
        """``init`` for one instance."""
        return dict(self.init() if callable(self.init) else self.init)


@dataclass(frozen=True, kw_only=True)
class RowExample(Example):
    """For preprocessors and filters."""

    rows: Sequence[Mapping[str, Any]]
    """Three rows or more, as they come from the data: the odd ones (an empty text, Chinese, a missing answer) find most."""
