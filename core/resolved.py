"""What a name resolved to: the one value that is passed on, recorded in checkpoints and sent to workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from twinkle.core.errors import BrokenComponent

Origin = Literal["builtin", "dist", "hub", "file", "py", "object"]


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A component, found but not necessarily imported: :attr:`cls` imports it on first access."""

    kind: str
    name: str
    entry: str
    """``module:Attribute``; relative to the repository where the origin is a hub or a folder."""
    origin: Origin
    ref: str
    """As the user wrote it."""
    repo: str | None = None
    """``scheme://owner/repo`` of a hub component, the folder of a local one."""
    commit: str | None = None
    h1: str | None = None
    """Digest of the approved bytes."""
    dist: str | None = None
    version: str | None = None
    trust: str = "builtin"
    """Why this may run: "builtin", "installed", "local", "object", "lock:<line>" or "store:<when>"."""
    conflicts: tuple[str, ...] = ()
    """Patches: names and hub ids of those that must not be applied beside it, as its manifest says."""
    after: tuple[str, ...] = ()
    """Patches: names of those that have to be applied before it, where they are applied at all."""
    trace: tuple[str, ...] = ()
    """The decisions on the way, in order, for ``twinkle components why``."""
    given: Any = field(default=None, compare=False, repr=False)
    """The object itself, where the origin is "object". It travels as its own pickle rules allow."""
    loader: Callable[[Resolved], Any] | None = field(default=None, compare=False, repr=False)
    """Imports the component. It stays in the process: a pickled value must be bound again with ``Registry.bind``."""

    @property
    def cls(self) -> Any:
        """The class, function or object itself.

        Raises:
            BrokenComponent: it cannot be imported here.
        """
        if self.origin == "object":
            return self.given
        if self.loader is None:
            raise BrokenComponent(f"{self.kind} {self.ref!r} came from another process: bind it first, with Registry.bind(resolved)")
        return self.loader(self)

    def provenance(self) -> dict[str, str]:
        """The fields that a reader needs to get the same bytes again, in plain values; what is unknown is left out."""
        names = ("kind", "name", "entry", "origin", "ref", "repo", "commit", "h1", "dist", "version", "trust")
        return {name: value for name in names if (value := self.__dict__[name]) is not None}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "loader": None}

    def bound_to(self, loader: Callable[[Resolved], Any]) -> Resolved:
        """The same value with a loader of this process."""
        return replace(self, loader=loader)
