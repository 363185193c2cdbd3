"""From a commit to a tree: list, check every name, fetch exactly these files into a private folder, compare with the listing."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twinkle.core.contracts.component_hub import Entry, HubReader
from twinkle.hub_loader.errors import ForbiddenFile, RevisionNotFound, Tampered
from twinkle.hub_loader.file_rule import Caps, check_listing
from twinkle.hub_loader.tree import ComponentTree


def list_component(reader: HubReader, repo: str, commit: str, where: str, allow_native: bool = False) -> list[Entry]:
    """The entries that the component is made of, every name checked before anything is fetched.

    Raises:
        RevisionNotFound: the commit has no files, which is how some hubs say that it does not exist.
        ForbiddenFile: a name, type or size breaks a rule.
    """
    entries = reader.list(repo, commit)
    if not entries:
        raise RevisionNotFound(f"{where}: commit {commit} has no files, or does not exist")
    sizes: dict[str, int] = {}
    for entry in entries:
        if entry.path in sizes:
            raise ForbiddenFile(f"{where}: the listing has {entry.path!a} twice")
        sizes[entry.path] = entry.size
    kept = set(check_listing(sizes, allow_native=allow_native))
    chosen = [entry for entry in entries if entry.path in kept]
    for entry in chosen:
        if not entry.is_regular:
            raise ForbiddenFile(f"{where}: {entry.path!a} is a link: links are no part of a component")
        if entry.size < 0:
            raise ForbiddenFile(f"{where}: {entry.path!a} has the size {entry.size}")
    return chosen


def fetch_tree(reader: HubReader, repo: str, commit: str, where: str, allow_native: bool = False) -> ComponentTree:
    """The component at ``commit``, held in memory; nothing stays on the disk.

    Raises:
        RevisionNotFound, ForbiddenFile: see :func:`list_component`.
        Tampered: the bytes are not those of the listing.
        HubUnavailable: the hub does not answer.
    """
    entries = list_component(reader, repo, commit, where, allow_native)
    with tempfile.TemporaryDirectory(prefix="twinkle-fetch-") as private:
        into = Path(private)
        reader.fetch(repo, commit, entries, into, _Meter(sum(entry.size for entry in entries), where).add)
        files = {entry.path: _checked(into, entry, where) for entry in entries}
    return ComponentTree.of(files, allow_native=allow_native)


@dataclass(slots=True)
class _Meter:
    """Ends a transfer that brings more than the listing said, with some room for protocol repeats."""

    expected: int
    where: str
    seen: int = 0

    def add(self, num_bytes: int) -> None:
        self.seen += num_bytes
        if self.seen > min(2 * self.expected + 1024 * 1024, Caps().total_bytes + 1024 * 1024):
            raise Tampered(f"{self.where}: the hub sends more than the {self.expected} bytes that it lists: stopped")


def _checked(into: Path, entry: Entry, where: str) -> bytes:
    path = into / entry.path
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise Tampered(f"{where}: {entry.path!a} is listed but did not arrive") from None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Tampered(f"{where}: {entry.path!a} did not arrive as a regular file")
        data = file.read(entry.size + 1)
    if len(data) != entry.size:
        raise Tampered(f"{where}: {entry.path!a} has not the {entry.size} bytes that the hub lists")
    if entry.sha256 is not None and hashlib.sha256(data).hexdigest() != entry.sha256:
        raise Tampered(f"{where}: {entry.path!a} has not the sha256 that the hub lists")
    if entry.git_blob is not None and git_blob_of(data) != entry.git_blob:
        raise Tampered(f"{where}: {entry.path!a} has not the git blob id that the hub lists")
    return data


def git_blob_of(data: bytes) -> str:
    """The id that git gives a file with these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def changed_paths(tree: ComponentTree, entries: Sequence[Entry]) -> list[str]:
    """The paths that differ between ``tree`` and a listing, as far as the listing's sizes and digests tell."""
    listed = {entry.path: entry for entry in entries}
    changed = [path for path in {*tree.files, *listed} if path not in listed or path not in tree.files]
    for path in tree.files.keys() & listed.keys():
        data, entry = tree.files[path], listed[path]
        same_sha = entry.sha256 is None or entry.sha256 == tree.digests[path]
        same_blob = entry.git_blob is None or entry.git_blob == git_blob_of(data)
        if entry.size != len(data) or not same_sha or not same_blob:
            changed.append(path)
    return sorted(changed)
