"""``twinkle.lock``: the components of a project, each pinned to its bytes. Committed with the project; sorted, so that diffs are small."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinkle.core.errors import InvalidConfig, InvalidRef
from twinkle.core.refs import HubRef, parse
from twinkle.hub_loader.grant import Grant, is_h1, repo_of

FILE_NAME = "twinkle.lock"
VERSION = 1
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class LockEntry:
    """One ``[[component]]`` of a lock."""

    repo: str
    """``scheme://owner/name``."""
    commit: str
    h1: str
    requested: str = ""
    """The revision as it was written; "" for the default branch."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path -> sha256 (hex)."""
    mirrors: tuple[str, ...] = ()
    """``scheme://owner/name@<commit>`` of other repositories with the same bytes, asked when the first one cannot answer."""
    approved_by: str = ""
    approved_at: str = ""
    approved_via: str = "cli"


def read_lock(path: Path) -> tuple[LockEntry, ...]:
    """The entries of the lock at ``path``, none where there is no file.

    Raises:
        InvalidConfig: it is malformed; nothing of it is used then.
    """
    if not path.is_file():
        return ()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} is no TOML file: {error}") from error
    if table.get("version") != VERSION:
        raise InvalidConfig(f"{path}: expected version = {VERSION}, got {table.get('version')!r}")
    return tuple(_entry(item, f"{path}: [[component]] {i + 1}") for i, item in enumerate(table.get("component", [])))


def grants_of_lock(path: Path) -> tuple[Grant, ...]:
    """The entries as grants, those of mirrors included; each names its place in the file."""
    grants = []
    for number, entry in enumerate(read_lock(path), 1):
        for repo, _, commit in ((entry.repo, "@", entry.commit), *(mirror.partition("@") for mirror in entry.mirrors)):
            why, requested = f"lock:{number}", entry.requested or None
            grants.append(Grant(repo=repo, commit=commit, h1=entry.h1, why=why, requested=requested, files=entry.files))
    return tuple(grants)


def lock_digest(path: Path) -> str | None:
    """``sha256:`` of the file, by which its user says that it is theirs; None without a file."""
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def write_lock(path: Path, entries: Iterable[LockEntry]) -> None:
    """Writes the lock, the same bytes for the same entries in any order; the old file stays until the new one is complete."""
    text = f"version = {VERSION}\n"
    for entry in sorted(entries, key=lambda e: (e.repo, e.requested, e.commit)):
        text += "\n" + _toml(entry)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE_NAME}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _toml(entry: LockEntry) -> str:
    files = ", ".join(f'{_quoted(path)} = "sha256:{entry.files[path]}"' for path in sorted(entry.files))
    lines = [
        "[[component]]",
        f"ref = {_quoted(entry.repo)}",
        f"requested = {_quoted(entry.requested)}",
        f"commit = {_quoted(entry.commit)}",
        f"h1 = {_quoted(entry.h1)}",
        f"files = {{ {files} }}",
    ]
    if entry.mirrors:
        lines.append(f"mirrors = [{', '.join(map(_quoted, sorted(entry.mirrors)))}]")
    by, at, via = map(_quoted, (entry.approved_by, entry.approved_at, entry.approved_via))
    lines.append(f"approved = {{ by = {by}, at = {at}, via = {via} }}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)  # a JSON string is a TOML basic string


def _entry(item: Mapping[str, object], where: str) -> LockEntry:
    approved = item.get("approved", {})
    files = item.get("files", {})
    mirrors = item.get("mirrors", [])
    if not isinstance(approved, dict) or not isinstance(files, dict) or not isinstance(mirrors, list):
        raise InvalidConfig(f"{where}: expected tables 'approved' and 'files' and a list 'mirrors'")
    commit, h1, requested = (str(item.get(key, "")) for key in ("commit", "h1", "requested"))
    if not _COMMIT.fullmatch(commit) or not is_h1(h1):
        raise InvalidConfig(f"{where}: expected a 40-digit commit and 'h1:' with 64 digits, got {commit!r} and {h1!r}")
    digests = {}
    for path, digest in files.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise InvalidConfig(f"{where}: files: {path!r}: expected 'sha256:' with 64 digits")
        digests[path] = digest.removeprefix("sha256:")
    return LockEntry(
        repo=_repo(item.get("ref"), where),
        commit=commit,
        h1=h1,
        requested=requested,
        files=digests,
        mirrors=tuple(_mirror(mirror, where) for mirror in mirrors),
        approved_by=str(approved.get("by", "")),
        approved_at=str(approved.get("at", "")),
        approved_via=str(approved.get("via", "")),
    )


def _mirror(text: object, where: str) -> str:
    try:
        ref = parse(text) if isinstance(text, str) else None
    except InvalidRef as error:
        raise InvalidConfig(f"{where}: {error}") from None
    if not isinstance(ref, HubRef) or not ref.is_pinned or ref.component is not None:
        raise InvalidConfig(f"{where}: mirrors: expected 'scheme://owner/name@<40-digit commit>', got {text!r}")
    return str(ref)


def _repo(text: object, where: str) -> str:
    try:
        ref = parse(text) if isinstance(text, str) else None
    except InvalidRef as error:
        raise InvalidConfig(f"{where}: {error}") from None
    if not isinstance(ref, HubRef) or ref.revision is not None or ref.component is not None:
        raise InvalidConfig(f"{where}: ref: expected 'scheme://owner/name', got {text!r}")
    return repo_of(ref)
