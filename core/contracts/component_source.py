"""The contract of what finds and loads components outside of installed packages."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

from twinkle.core.refs import FileRef, HubRef
from twinkle.core.resolved import Resolved


class ComponentSource(Protocol):
    """Resolves references to repositories and folders. Trust is decided here, before any byte runs."""

    @abstractmethod
    def resolve(self, kind: str, ref: HubRef | FileRef) -> Resolved:
        """The component, found, fetched and verified, but not imported."""

    @abstractmethod
    def load(self, resolved: Resolved) -> Any:
        """Imports what :meth:`resolve` found, from the very bytes that were verified."""
