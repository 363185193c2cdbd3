"""A folder that is either there as a whole or not there: written beside its place, then renamed into it."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial-"
_REPLACED = ".replaced-"


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """An empty folder to write to; it becomes ``target`` when the block ends, and vanishes when the block raises.

    A process that is killed leaves at most a hidden partial folder, which the next call removes, and never a ``target`` that lacks a file.
    What ``target`` held before stays until the new folder is complete and on the disk.

    Raises:
        FileExistsError: ``target`` is a file.
    """
    if target.is_file():
        raise FileExistsError(f"{target} is a file, where a folder is to be written")
    target.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(target)
    for stale in _all_beside(target, _PARTIAL):
        shutil.rmtree(stale, ignore_errors=True)
    partial = _beside(target, _PARTIAL)
    partial.mkdir()
    try:
        yield partial
        for path in sorted(partial.rglob("*")):
            _flush(path)
        _flush(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if not target.exists():
        os.rename(partial, target)
        _flush(target.parent)
        return
    replaced = _beside(target, _REPLACED)
    os.rename(target, replaced)
    os.rename(partial, target)
    _flush(target.parent)
    _remove(replaced, target)


def remove_folder(target: Path) -> None:
    """Removes ``target`` as a whole: a process that is killed meanwhile leaves no ``target`` that lacks a file."""
    _remove(target, target)


def recover_folder(target: Path) -> None:
    """Puts back what a process had moved aside when it was killed between the two renames of :func:`atomic_folder`."""
    replaced = _all_beside(target, _REPLACED)
    if replaced and not target.exists():
        os.rename(replaced.pop(), target)
    for stale in replaced:
        _remove(stale, target)


def recover_folders(parent: Path) -> None:
    """:func:`recover_folder` for whatever was moved aside in ``parent``."""
    for replaced in sorted(parent.glob(f".*{_REPLACED}*")):
        recover_folder(parent / replaced.name[1:].rpartition(_REPLACED)[0])


def _beside(target: Path, mark: str) -> Path:
    return target.parent / f".{target.name}{mark}{uuid.uuid4().hex}"


def _all_beside(target: Path, mark: str) -> list[Path]:
    return sorted(target.parent.glob(f".{glob.escape(target.name)}{mark}*"))


def _remove(folder: Path, target: Path) -> None:
    """Removes ``folder``, under the name of a partial ``target`` first: half removed, it is never taken for a whole one."""
    removed = _beside(target, _PARTIAL)
    os.rename(folder, removed)
    shutil.rmtree(removed)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
