"""A folder is there as a whole or not at all, at whatever call a process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from twinkle.core import atomic_folder as module
from twinkle.core.atomic_folder import atomic_folder, recover_folder, recover_folders, remove_folder


class Killed(BaseException):
    """Stands for SIGKILL: nothing after the call runs, not even a clean-up."""


def write(target: Path, text: str) -> None:
    with atomic_folder(target) as folder:
        (folder / "one").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "two").write_text(text)


def contents(target: Path) -> set[str]:
    """The texts of a folder that has all of its files."""
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*")) == ["deep", "deep/two", "one"]
    return {(target / "one").read_text(), (target / "deep" / "two").read_text()}


def hidden(parent: Path) -> list[str]:
    return sorted(p.name for p in parent.iterdir() if p.name.startswith("."))


@contextmanager
def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The process dies instead of its ``call``-th change of the disk (a rename, the removal of one file, of one folder, a flush)."""
    made: list[str] = []
    dead = False

    def counted(name: str, real: Any) -> Any:
        def change(*args: Any, **kwargs: Any) -> Any:
            nonlocal dead
            if dead or len(made) == call:
                dead = True
                raise Killed
            made.append(name)
            return real(*args, **kwargs)

        return change

    with monkeypatch.context() as patch:
        for name in ("rename", "unlink", "rmdir", "fsync"):
            patch.setattr(os, name, counted(name, getattr(os, name)))
        # The clean-up after an exception is what a killed process does not do.
        real_rmtree = shutil.rmtree
        patch.setattr(module.shutil, "rmtree", lambda *a, **k: None if dead else real_rmtree(*a, **k))
        yield made


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    with atomic_folder(target) as folder:
        (folder / "one").write_text("x")
        assert not target.exists()
    assert (target / "one").read_text() == "x"
    assert hidden(target.parent) == []


def test_an_error_in_the_block_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write(target, "old")
    with pytest.raises(RuntimeError, match="in the block"), atomic_folder(target) as folder:
        (folder / "one").write_text("new")
        raise RuntimeError("in the block")
    assert contents(target) == {"old"}
    assert hidden(tmp_path) == []


def test_a_file_in_its_place_is_an_error_and_stays(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        write(target, "new")
    assert target.read_text() == "mine"


@pytest.mark.parametrize("name", ["folder", "run[1]*"], ids=["plain", "glob signs"])
def test_a_replacement_killed_at_any_call_leaves_the_old_or_the_new_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Mutants seen to fail: the old folder removed before the rename; removed without being renamed first."""
    for call in range(100):
        target = tmp_path / str(call) / name
        write(target, "old")
        with killed_at(call, monkeypatch) as made:
            try:
                write(target, "new")
            except Killed:
                finished = False
            else:
                finished = True
        recover_folder(target)
        assert contents(target) in ({"old"}, {"new"}), made
        if finished:
            assert contents(target) == {"new"}
            assert hidden(target.parent) == []
            break
        write(target, "next")
        assert contents(target) == {"next"}
        assert hidden(target.parent) == [], "what the killed process left is swept up by the next one"
    assert call > 10, "the calls of a replacement were counted"


def test_what_was_moved_aside_comes_back_before_the_next_writing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write(target, "old")
    target.rename(tmp_path / ".folder.replaced-1")
    with pytest.raises(RuntimeError), atomic_folder(target):
        assert contents(target) == {"old"}
        raise RuntimeError
    assert contents(target) == {"old"}


def test_a_half_removed_replaced_folder_never_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    write(target, "old")
    with killed_at(100, monkeypatch) as made:
        write(target, "new")
    first_unlink = made.index("unlink")
    shutil.rmtree(target)
    write(target, "old")
    with killed_at(first_unlink + 1, monkeypatch), pytest.raises(Killed):
        write(target, "new")
    shutil.rmtree(target)  # by hand
    recover_folder(target)
    assert not target.exists()


def test_a_removal_killed_at_any_call_leaves_the_folder_whole_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in range(100):
        target = tmp_path / str(call) / "folder"
        write(target, "old")
        with killed_at(call, monkeypatch):
            try:
                remove_folder(target)
            except Killed:
                finished = False
            else:
                finished = True
        recover_folder(target)
        assert not target.exists() or contents(target) == {"old"}
        if finished:
            assert not target.exists()
            break
    assert call > 3


def test_recover_folders_finds_what_was_moved_aside(tmp_path: Path) -> None:
    write(tmp_path / "a.b", "old")
    (tmp_path / "a.b").rename(tmp_path / ".a.b.replaced-1")
    write(tmp_path / "kept", "kept")
    recover_folders(tmp_path)
    assert contents(tmp_path / "a.b") == {"old"}
    assert contents(tmp_path / "kept") == {"kept"}
    recover_folders(tmp_path / "not there")
