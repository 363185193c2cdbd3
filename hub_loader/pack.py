"""What of a folder is published: an explicit list of files, read once into memory, each of them checked. Uploaders see nothing else."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from twinkle.core.contracts.component_hub import COMPONENT_TAG
from twinkle.hub_loader.errors import ForbiddenFile, InvalidManifest, NoComponent
from twinkle.hub_loader.file_rule import check_listing, is_excluded
from twinkle.hub_loader.hubs.file import IGNORED_FOLDERS
from twinkle.hub_loader.manifest import FILE_NAME, Manifest, manifest_of, parse_manifest
from twinkle.hub_loader.tree import ComponentTree

_SECRETS: Mapping[str, re.Pattern[bytes]] = {
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "a ModelScope token": re.compile(rb"\bms-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})\b"),
    "an AWS key": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "an API key": re.compile(rb"\bsk-[A-Za-z0-9_-]{32,}\b"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
_INLINE_BYTES = 64 * 1024
"""Larger files would be stored as LFS objects by one hub and not by the other."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A component, ready to be published."""

    files: Mapping[str, bytes]
    """Everything that is uploaded: the component, and its prose and tests."""
    tree: ComponentTree
    """What of it is stored, hashed and run."""
    manifest: Manifest
    is_dirty: bool
    """Whether the folder differs from its git commit."""


def pack(folder: Path) -> Pack:
    """The files of ``folder``: those that git tracks where it is a git repository, else all that are not hidden.

    Raises:
        InvalidManifest: there is no manifest, or publishing needs more of it.
        ForbiddenFile: a link, a secret, a file type or size that a component may not have, or Python that does not parse.
    """
    paths, is_dirty = _tracked(folder)
    files: dict[str, bytes] = {}
    for path in paths:
        place = folder / path
        if any(stat.S_ISLNK((folder / part).lstat().st_mode) for part in _prefixes(path)):
            raise ForbiddenFile(f"{path!a} is a link, which an upload would follow: put the file itself there")
        if not stat.S_ISREG(place.lstat().st_mode):
            raise ForbiddenFile(f"{path!a}: expected a regular file")
        files[path] = place.read_bytes()
    return pack_files(files, str(folder), is_dirty)


def pack_files(files: Mapping[str, bytes], where: str, is_dirty: bool = False) -> Pack:
    """The pack of ``files``, checked as :func:`pack` says."""
    check_listing({path: len(data) for path, data in files.items()})
    for path, data in files.items():
        _check_content(path, data)
    tree = ComponentTree.of(files)
    if FILE_NAME not in tree.files:
        raise InvalidManifest(f"{where}: publishing needs {FILE_NAME}: 'twinkle plugin init' or 'twinkle plugin migrate' writes one")
    manifest = parse_manifest(tree.files[FILE_NAME], where)
    if manifest.unknown_keys:
        raise InvalidManifest(f"{where}: {FILE_NAME} has unknown keys {', '.join(manifest.unknown_keys)}")
    manifest_of(tree, where)
    if not manifest.license:
        raise InvalidManifest(f"{where}: [project] needs license = \"...\", an SPDX expression such as 'Apache-2.0'")
    _check_version(manifest, where)
    for component in manifest.components:
        for test in component.tests:
            if test not in files:
                raise NoComponent(f"{where}: {component.name} names the test {test!r}, which is not there")
    with_card = files if any(path.upper() == "README.MD" for path in files) else {**files, "README.md": _card(manifest)}
    return Pack(files=MappingProxyType(dict(with_card)), tree=tree, manifest=manifest, is_dirty=is_dirty)


def _tracked(folder: Path) -> tuple[list[str], bool]:
    """The files to publish, and whether they differ from what git has committed."""
    if not (folder / ".git").exists():
        return sorted(_plain_files(folder, folder)), False
    listed = _git(folder, "ls-files", "-z").split("\0")
    status = _git(folder, "status", "--porcelain")
    return sorted(path for path in listed if path and os.path.lexists(folder / path)), bool(status)


def _plain_files(folder: Path, root: Path) -> list[str]:
    found: list[str] = []
    for entry in sorted(folder.iterdir()):
        if entry.name in IGNORED_FOLDERS or (entry.name.startswith(".") and entry.is_dir() and not entry.is_symlink()):
            continue
        if entry.is_dir() and not entry.is_symlink():
            found += _plain_files(entry, root)
        else:
            found.append(entry.relative_to(root).as_posix())
    return found


def _git(folder: Path, *arguments: str) -> str:
    # fsmonitor: a folder from elsewhere may bring a git configuration that names a program to run
    done = subprocess.run(["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ForbiddenFile(f"{folder}: git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _check_content(path: str, data: bytes) -> None:
    for what, pattern in _SECRETS.items():
        if pattern.search(data):
            raise ForbiddenFile(f"{path!a} contains what looks like {what}: take it out, and revoke it if it ever was published")
    if len(data) > _INLINE_BYTES and not is_excluded(path):
        raise ForbiddenFile(
            f"{path!a} has {len(data)} bytes: files of a component have {_INLINE_BYTES} at most, to be the same on every hub"
        )
    if path.endswith(".py"):
        try:
            ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ForbiddenFile(f"{path!a} does not parse: {error}") from error


def _check_version(manifest: Manifest, where: str) -> None:
    from packaging.version import InvalidVersion, Version

    try:
        Version(manifest.version)
    except InvalidVersion:
        raise InvalidManifest(f"{where}: version {manifest.version!r}: expected a PEP 440 version such as '1.2.0'") from None


def _card(manifest: Manifest) -> bytes:
    kinds = sorted({component.kind for component in manifest.components})
    tags = "".join(f"- twinkle-{kind}\n" for kind in kinds)
    rows = "".join(f"- {component.kind} `{component.name}`\n" for component in manifest.components)
    head = f"---\nlibrary_name: twinkle\nlicense: {(manifest.license or '').lower()}\ntags:\n- {COMPONENT_TAG}\n{tags}---\n"
    load = "Look at it and approve it with `twinkle plugin trust <id>`, then use its id with the commit: `<scheme>://<owner>/<name>@<commit>#<name>`.\n"
    return f"{head}\n# {manifest.name}\n\n{manifest.summary}\n\n{rows}\n## How to load (pinned)\n\n{load}".encode()
