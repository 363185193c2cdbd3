"""Looking at a component and approving it: what ``twinkle plugin trust`` does. Nothing is imported here."""

from __future__ import annotations

import getpass
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from twinkle.core.errors import InvalidConfig
from twinkle.core.refs import HubRef
from twinkle.hub_loader.grant import Grant, repo_of
from twinkle.hub_loader.hub_source import HubSource, grant_of
from twinkle.hub_loader.lock import LockEntry, grants_of_lock, lock_digest, read_lock, write_lock
from twinkle.hub_loader.trust import Candidate
from twinkle.hub_loader.trust_store import TrustStore


def look_at(source: HubSource, ref: HubRef, expected_h1: str | None = None, allow_unmerged: bool = False) -> Candidate:
    """The bytes of ``ref``, fetched into memory. A revocation does not forbid to look.

    Raises:
        UntrustedComponent: hub components are forbidden altogether, the commit was never published, or the digest is another one.
    """
    calm = replace(source, policy=replace(source.policy, revoked=frozenset()))
    calm.policy.refuse_early(repo_of(ref), str(ref))
    commit = source.reader(ref.scheme).resolve(ref.repo_id, ref.revision)
    return calm.candidate(ref, commit, expected_h1, allow_unmerged)


def approve(source: HubSource, ref: HubRef, candidate: Candidate, lock: Path | None = None) -> Grant:
    """Records consent to exactly ``candidate`` in the user's trust store, its bytes in the store, and a line in ``lock``.

    Raises:
        InvalidConfig: ``lock`` has lines that this user has not accepted; writing to it would accept them unseen.
    """
    if lock is not None:
        _check_ours(lock, source.trust_store)
    source.store.put(candidate.tree)
    grant = source.trust_store.approve(grant_of(candidate, ref, "store"))
    if lock is not None:
        _put_line(lock, grant, source.trust_store)
    return grant


def lock_grant(source: HubSource, grant: Grant, ref: HubRef, lock: Path) -> Grant:
    """Writes a line for what was approved before into ``lock``, as asked for by ``ref``; returns it as it stands there.

    Raises:
        InvalidConfig: ``lock`` has lines that this user has not accepted.
    """
    _check_ours(lock, source.trust_store)
    tree = source.tree_of(grant, str(ref))
    locked = replace(grant, requested=ref.revision, files=tree.digests)
    _put_line(lock, locked, source.trust_store)
    return locked


def forget(source: HubSource, repo: str, lock: Path) -> tuple[str, ...]:
    """Takes ``repo`` out of ``lock``, the trust store and the store; returns the digests that were there. No tombstone is left.

    Raises:
        InvalidConfig: ``lock`` has lines that this user has not accepted.
    """
    entries = read_lock(lock)
    left = [entry for entry in entries if entry.repo != repo]
    gone = {grant.h1 for grant in source.policy.grants if grant.repo == repo} | {entry.h1 for entry in entries if entry.repo == repo}
    if len(left) < len(entries):
        _check_ours(lock, source.trust_store)
        _write_own(lock, left, source.trust_store)
    record = source.trust_store.forget(repo)
    for h1 in gone - {grant.h1 for grant in record.grants}:
        source.store.remove(h1)
    return tuple(sorted(gone))


def accept_lock(trust_store: TrustStore, lock: Path) -> tuple[Grant, ...]:
    """Takes the lock that came with a project as this user's own; returns what it grants.

    Raises:
        InvalidConfig: there is none, or it is malformed.
    """
    digest = lock_digest(lock)
    if digest is None:
        raise InvalidConfig(f"{lock}: there is no such file")
    grants = grants_of_lock(lock)
    trust_store.accept_lock(digest)
    return grants


def _check_ours(lock: Path, trust_store: TrustStore) -> None:
    digest = lock_digest(lock)
    if digest is not None and digest not in trust_store.read().locks and read_lock(lock):
        raise InvalidConfig(f"{lock} came with the project and you have not accepted it: 'twinkle plugin trust --lock' first")


def _put_line(lock: Path, grant: Grant, trust_store: TrustStore) -> None:
    others = [entry for entry in read_lock(lock) if (entry.repo, entry.requested) != (grant.repo, grant.requested or "")]
    _write_own(lock, [*others, _entry(grant)], trust_store)


def _write_own(lock: Path, entries: list[LockEntry], trust_store: TrustStore) -> None:
    write_lock(lock, entries)
    digest = lock_digest(lock)
    assert digest is not None
    trust_store.accept_lock(digest)


def _entry(grant: Grant) -> LockEntry:
    return LockEntry(
        repo=grant.repo,
        commit=grant.commit,
        h1=grant.h1,
        requested=grant.requested or "",
        files=grant.files,
        approved_by=getpass.getuser(),
        approved_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    )
