"""Who may run. :meth:`TrustPolicy.authorize` is the only door: nothing else makes an :class:`Approval`, and nothing runs without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twinkle.core.settings import Settings
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.tree import ComponentTree


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Bytes that ask to run, and where they came from. The origin is what was asked for, never read out of a path or a file."""

    tree: ComponentTree
    origin: Literal["file", "hub"]
    where: str
    """The reference, as it is shown."""
    shown_root: str
    """The folder that tracebacks name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """Bytes that may run in this process. Only :meth:`TrustPolicy.authorize` makes one."""

    tree: ComponentTree
    where: str
    shown_root: str
    trust: str
    """Why: "local", "lock:<line>" or "store:<when>"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustPolicy:
    """What this process lets run."""

    allows_local: bool = True
    """Whether the user's own folders may run: not in a server."""

    @classmethod
    def of(cls, settings: Settings) -> TrustPolicy:
        """The policy of a user's own process."""
        return cls()

    def authorize(self, candidate: Candidate) -> Approval:
        """Leave for ``candidate`` to run.

        Raises:
            UntrustedComponent: nobody gave it.
        """
        if candidate.origin == "file" and self.allows_local:
            return Approval(tree=candidate.tree, where=candidate.where, shown_root=candidate.shown_root, trust="local")
        raise UntrustedComponent(f"{candidate.where} ({candidate.tree.h1}) is not approved")
