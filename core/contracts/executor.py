"""The contract of an executor."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twinkle.core.runtime.placement import Layout, Placement


class Executor(Protocol):
    """Carries out what ``remote_class`` and ``remote_function`` describe. Its registered name is the mode of ``initialize``."""

    @abstractmethod
    def start(self, layout: Layout) -> Layout:
        """Called once by ``initialize()``: makes the workers that ``layout`` needs. Returns it with what the user left out filled in.

        Raises:
            InvalidConfig: the groups or the mesh cannot be had here.
        """

    @abstractmethod
    def construct(self, placement: Placement, layout: Layout) -> Any:
        """The component of ``placement``: itself, or a stand-in whose described methods call those of the workers."""
