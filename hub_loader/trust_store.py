"""What this user approved and revoked: ``$TWINKLE_HOME/trust.json``, for their eyes and writing only."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twinkle.core.errors import InvalidConfig
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.hub_loader.grant import Grant


@dataclass(frozen=True, kw_only=True)
class TrustRecord:
    """The contents of the store."""

    grants: tuple[Grant, ...] = ()
    owners: frozenset[str] = frozenset()
    """``scheme://owner`` whose repositories are pinned on first use without a question."""
    revoked: frozenset[str] = frozenset()
    """Tombstones: a repository, an owner or an h1. They beat every grant, those of lock files included."""
    locks: frozenset[str] = frozenset()
    """Digests of lock files that this user wrote or accepted."""


@dataclass(frozen=True, slots=True)
class TrustStore:
    """The file and its updates, safe among processes."""

    home: Path

    @property
    def path(self) -> Path:
        """The file."""
        return self.home / "trust.json"

    def read(self) -> TrustRecord:
        """The record; an empty one without a file.

        Raises:
            UntrustedComponent: others can write the file, so it says nothing about this user.
            InvalidConfig: it is malformed; then nothing is trusted.
        """
        if not self.path.exists():
            return TrustRecord()
        for place in (self.home, self.path):
            if os.stat(place).st_mode & stat.S_IWOTH:
                raise UntrustedComponent(f"{place} can be written by other users, so what it approves means nothing: chmod o-w {place}")
        try:
            return _from_plain(json.loads(self.path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidConfig(f"{self.path} is damaged ({error}): move it away and approve again") from error

    def update(self, change: Callable[[TrustRecord], TrustRecord]) -> TrustRecord:
        """Replaces the record by ``change(record)``, whole or not at all."""
        with self._locked():
            record = change(self.read())
            descriptor, name = tempfile.mkstemp(dir=self.home, prefix=".trust.")
            try:
                with open(descriptor, "w", encoding="utf-8") as file:
                    json.dump(_to_plain(record), file, indent=1, sort_keys=True)
                os.replace(name, self.path)
            except BaseException:
                os.unlink(name)
                raise
        return record

    def approve(self, grant: Grant) -> Grant:
        """Adds consent to one digest; returns the grant as it is stored. A tombstone of the same name or digest goes."""
        stored = replace(grant, why=f"store:{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")

        def change(record: TrustRecord) -> TrustRecord:
            others = tuple(g for g in record.grants if (g.repo, g.commit, g.requested) != (grant.repo, grant.commit, grant.requested))
            return replace(record, grants=(*others, stored), revoked=record.revoked - {grant.h1, grant.repo})

        self.update(change)
        return stored

    def approve_owner(self, owner: str) -> None:
        """Repositories of ``scheme://owner`` are pinned on first use from now on."""
        self.update(lambda record: replace(record, owners=record.owners | {owner}, revoked=record.revoked - {owner}))

    def accept_lock(self, digest: str) -> None:
        """The lock file with this digest is this user's own."""
        self.update(lambda record: replace(record, locks=record.locks | {digest}))

    def forget(self, repo: str) -> TrustRecord:
        """Takes the grants of ``repo`` away, without a tombstone; returns what is left."""
        return self.update(lambda record: replace(record, grants=tuple(g for g in record.grants if g.repo != repo)))

    def revoke(self, what: str) -> None:
        """A tombstone for a repository, an owner or an h1; grants that it covers go."""

        def change(record: TrustRecord) -> TrustRecord:
            left = tuple(g for g in record.grants if what not in (g.repo, g.h1, g.repo.rpartition("/")[0]))
            return replace(record, grants=left, owners=record.owners - {what}, revoked=record.revoked | {what})

        self.update(change)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.home / ".trust.lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _to_plain(record: TrustRecord) -> dict[str, Any]:
    grants = [{**asdict(g), "files": dict(g.files)} for g in record.grants]
    return {
        "grants": sorted(grants, key=lambda g: (g["repo"], g["commit"], g["requested"] or "")),
        "owners": sorted(record.owners),
        "revoked": sorted(record.revoked),
        "locks": sorted(record.locks),
    }


def _from_plain(plain: Mapping[str, Any]) -> TrustRecord:
    return TrustRecord(
        grants=tuple(Grant(**grant) for grant in plain["grants"]),
        owners=frozenset(plain["owners"]),
        revoked=frozenset(plain["revoked"]),
        locks=frozenset(plain["locks"]),
    )
