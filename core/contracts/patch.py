"""The contract of a patch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol


class Journal(Protocol):
    """Writes down every change, so that it can be undone to object identity. A patch changes things only through it."""

    @abstractmethod
    def setattr(self, owner: object, name: str, value: object) -> None:
        """``owner.name = value``; the raw former attribute (descriptor included, or its absence) is kept."""

    @abstractmethod
    def setitem(self, mapping: Any, key: object, value: object) -> None:
        """``mapping[key] = value``."""

    @abstractmethod
    def callback(self, undo: Callable[[], None]) -> None:
        """Calls ``undo`` on revert, for a change of another kind."""


class Patch(Protocol):
    """Changes a model or a library. An exception in ``apply`` undoes what it had done."""

    @abstractmethod
    def apply(self, target: Any, journal: Journal) -> None:
        """Changes ``target`` (the unwrapped model, or a module) through ``journal``."""
