"""The contract of an executor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twinkle.core.runtime.context import ProcessContext
    from twinkle.core.runtime.remote import Placement


class Executor(Protocol):
    """Carries out what ``remote_class`` and ``remote_function`` describe."""

    @abstractmethod
    def start(self, context: ProcessContext) -> None:
        """Called once by ``initialize()``: makes what the context's groups and mesh need, or says why it cannot."""

    @abstractmethod
    def construct(self, cls: type[Any], placement: Placement, build: Callable[[], Any]) -> Any:
        """An instance of ``cls`` where ``placement`` says; ``build`` makes it in this process."""
