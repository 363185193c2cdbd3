"""The contract of a hub that components come from, and go to. A hub plugin whose object fulfils it serves components as well as files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

COMPONENT_TAG = "twinkle-component"
"""The tag in the card of every repository that holds components: hubs list them by it."""

Progress = Callable[[int], None]
"""Told how many more bytes arrived; what it raises ends the transfer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Commit:
    """An immutable state of a repository."""

    id: str
    """40 hexadecimal digits."""
    date: str | None = None
    """ISO 8601, where the hub tells it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of a commit, as the hub lists it. Nothing of it is believed before it is checked."""

    path: str
    size: int
    sha256: str | None = None
    git_blob: str | None = None
    """The sha1 of git's blob object, where the hub gives that."""
    is_regular: bool = True
    """False for links and submodules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refs:
    """The advertised branches and tags."""

    tips: Mapping[str, str] = field(default_factory=dict)
    """Branch or tag -> commit."""
    history: frozenset[str] | None = None
    """Every commit that a branch or tag reaches; None where the hub does not tell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A repository that a hub lists. Nothing of it is believed: the texts are a stranger's."""

    repo: str
    """``owner/name``."""
    summary: str
    updated: str | None = None
    """ISO 8601, where the hub tells it."""


@runtime_checkable
class HubSearcher(Protocol):
    """Finds repositories of components. Optional: a hub without it is read all the same."""

    @abstractmethod
    def search(self, query: str, limit: int) -> Sequence[Found]:
        """At most ``limit`` repositories with the tag ``twinkle-component`` that match ``query``; raises ``HubUnavailable``."""


@runtime_checkable
class HubReader(Protocol):
    """Reads repositories (``owner/name``). Each method raises ``HubUnavailable`` when the hub cannot answer."""

    @abstractmethod
    def resolve(self, repo: str, revision: str | None) -> Commit:
        """The commit that ``revision`` (None: the default branch) is now."""

    @abstractmethod
    def list(self, repo: str, commit: str) -> Sequence[Entry]:
        """Every file of a commit."""

    @abstractmethod
    def fetch(self, repo: str, commit: str, entries: Sequence[Entry], into: Path, progress: Progress) -> None:
        """Writes the files ``entries``, no others, below ``into``, under their paths."""

    @abstractmethod
    def refs(self, repo: str) -> Refs:
        """What is published: outsiders' unmerged proposals are left out."""


@runtime_checkable
class HubWriter(Protocol):
    """Writes repositories (``owner/name``)."""

    @abstractmethod
    def create(self, repo: str, private: bool) -> None:
        """Makes the repository, where it does not exist."""

    @abstractmethod
    def commit(self, repo: str, files: Mapping[str, bytes], remove: Sequence[str], parent: str | None, message: str) -> Commit:
        """Adds or replaces ``files`` and removes ``remove``, on top of ``parent`` (None: an empty repository)."""

    @abstractmethod
    def tag(self, repo: str, tag: str, commit: str) -> None:
        """A new tag; an existing one is never moved."""
