"""A folder, or one Python file, of this machine: read once into memory, and only where nobody else could have written it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from twinkle.core.errors import HubUnavailable
from twinkle.hub_loader.errors import ForbiddenFile, UntrustedComponent
from twinkle.hub_loader.file_rule import Caps

IGNORED_FOLDERS = frozenset({"__pycache__", "build", "dist", "node_modules"})
"""What tools leave in a working folder; hidden files and ``*.egg-info`` are ignored too. None of it is read, hashed or importable."""


def read_local(path: Path, caps: Caps | None = None) -> dict[str, bytes]:
    """Path -> bytes of a folder's files, or of the one file ``path``; each file is opened once.

    Raises:
        HubUnavailable: nothing is there.
        UntrustedComponent: somebody else than this user or root can write there.
        ForbiddenFile: a link, a device, or more bytes than a component may have.
    """
    caps = Caps() if caps is None else caps
    if not path.exists():
        raise HubUnavailable(f"file:{path}: expected a folder or a .py file, found nothing")
    if path.is_file():
        if path.suffix != ".py":
            raise ForbiddenFile(f"file:{path}: expected a folder or a .py file")
        _check_owner(path, os.stat(path))
        return {path.name: _read(path, caps.total_bytes)}
    _check_owner(path, os.stat(path))
    is_private = not os.stat(path).st_mode & (stat.S_IXGRP | stat.S_IXOTH)  # nobody else can enter it: what lies inside needs no check
    files: dict[str, bytes] = {}
    left = caps.total_bytes
    for entry in _walk(path, is_private):
        if len(files) == caps.num_files:
            raise ForbiddenFile(f"file:{path}: more than {caps.num_files} files")
        data = _read(entry, left)
        left -= len(data)
        files[entry.relative_to(path).as_posix()] = data
    return files


def _walk(folder: Path, is_private: bool) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith(".") or entry.name in IGNORED_FOLDERS or entry.name.endswith(".egg-info"):
            continue
        path = Path(entry.path)
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise ForbiddenFile(f"file:{path}: links are no part of a component; put the file itself there")
        if not is_private:
            _check_owner(path, status)
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(path, is_private)
        else:
            yield path


def _read(path: Path, max_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ForbiddenFile(f"file:{path}: expected a regular file")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ForbiddenFile(f"file:{path}: a component has {Caps().total_bytes} bytes at most")
    return data


def _check_owner(path: Path, status: os.stat_result) -> None:
    user = os.geteuid()
    if user != 0 and status.st_uid not in (user, 0):
        raise UntrustedComponent(f"file:{path} belongs to another user (id {status.st_uid}): copy it to a folder of yours to run its code")
    others = status.st_mode & stat.S_IWOTH
    group = status.st_mode & stat.S_IWGRP and not _is_private_group(status)
    if others or group:
        raise UntrustedComponent(f"file:{path} can be written by other users, who could run code as you: chmod -R go-w {path}")


def _is_private_group(status: os.stat_result) -> bool:
    """Whether the group is the owner's alone, as many distributions give each user (umask 002 is their default)."""
    import grp
    import pwd

    try:
        group, owner = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}
