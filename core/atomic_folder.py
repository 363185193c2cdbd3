"""A folder that is either there as a whole or not there: written beside its place, then renamed into it."""

from __future__ import annotations

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
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(target)
    for stale in target.parent.glob(f".{target.name}{_PARTIAL}*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = target.parent / f".{target.name}{_PARTIAL}{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        yield partial
        for path in sorted(partial.rglob("*")):
            _flush(path)
        _flush(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if target.exists():
        replaced = target.parent / f".{target.name}{_REPLACED}{uuid.uuid4().hex}"
        os.rename(target, replaced)
        os.rename(partial, target)
        shutil.rmtree(replaced)
    else:
        os.rename(partial, target)
    _flush(target.parent)


def recover_folder(target: Path) -> None:
    """Puts back what a process had moved aside when it was killed between the two renames of :func:`atomic_folder`."""
    replaced = sorted(target.parent.glob(f".{target.name}{_REPLACED}*"))
    if replaced and not target.exists():
        os.rename(replaced.pop(), target)
    for stale in replaced:
        shutil.rmtree(stale, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
