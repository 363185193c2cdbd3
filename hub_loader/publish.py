"""Publishing: one commit with exactly the packed files, a tag that never moves, and a check that what can be fetched is what was packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twinkle.core.contracts.component_hub import HubReader, HubWriter
from twinkle.core.errors import InvalidArgument
from twinkle.core.refs import HubRef
from twinkle.hub_loader.errors import InvalidManifest, RevisionNotFound, Tampered
from twinkle.hub_loader.fetch import fetch_tree
from twinkle.hub_loader.file_rule import is_excluded
from twinkle.hub_loader.pack import Pack


class PublishingHub(HubReader, HubWriter, Protocol):
    """A hub that is read and written."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What came out of it."""

    ref: str
    """With the full commit, for copying."""
    h1: str
    tag: str


def publish(packed: Pack, hub: PublishingHub, ref: HubRef, *, private: bool, allow_dirty: bool = False) -> Published:
    """Publishes ``packed`` as ``ref`` and fetches it again without a cache.

    Raises:
        InvalidArgument: the folder differs from its git commit and ``allow_dirty`` is not given, or ``ref`` names a revision.
        InvalidManifest: the version was published before, or is not newer than the last one.
        Tampered: the hub gives other bytes back.
    """
    if ref.revision is not None or ref.component is not None:
        raise InvalidArgument(f"publish to {ref}: expected 'scheme://owner/name', without '@' and '#'")
    if packed.is_dirty and not allow_dirty:
        raise InvalidArgument(
            "the folder differs from its git commit: commit first, or say --allow-dirty, which the commit message records"
        )
    tag = f"v{packed.manifest.version}"
    hub.create(ref.repo_id, private)
    tips = hub.refs(ref.repo_id).tips
    _check_newer(packed.manifest.version, list(tips), str(ref))
    parent, stale = _head(hub, ref, packed)
    dirty = " (from a folder with uncommitted changes)" if packed.is_dirty else ""
    commit = hub.commit(ref.repo_id, packed.files, stale, parent, f"{packed.manifest.name} {packed.manifest.version}{dirty}")
    hub.tag(ref.repo_id, tag, commit.id)
    found = hub.resolve(ref.repo_id, tag)
    tree = fetch_tree(hub, ref.repo_id, found.id, str(ref))
    if tree.h1 != packed.tree.h1:
        raise Tampered(f"{ref}: packed was {packed.tree.h1}, fetched again is {tree.h1}: do not use {found.id}")
    return Published(ref=f"{ref}@{found.id}", h1=tree.h1, tag=tag)


def _head(hub: PublishingHub, ref: HubRef, packed: Pack) -> tuple[str | None, list[str]]:
    """The commit that is built upon, and its files that are not part of the new version."""
    try:
        head = hub.resolve(ref.repo_id, None)
    except RevisionNotFound:
        return None, []
    entries = hub.list(ref.repo_id, head.id)
    return head.id, [entry.path for entry in entries if entry.path not in packed.files and not is_excluded(entry.path)]


def _check_newer(version: str, tips: list[str], where: str) -> None:
    from packaging.version import InvalidVersion, Version

    for name in tips:
        try:
            published = Version(name.removeprefix("v"))
        except InvalidVersion:
            continue
        if name.startswith("v") and published >= Version(version):
            raise InvalidManifest(f"{where} has version {published} already: give [project] a newer one than that, tags are never moved")
