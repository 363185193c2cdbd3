"""A hub in memory, and wrong ones."""

from __future__ import annotations

import fnmatch
import tempfile
from pathlib import Path
from typing import Any

from twinkle.core.errors import HubUnavailable
from twinkle.testing import HubExample

FILES = {"config.json": b"{}\r\n", "weights/a.safetensors": b"\x00\xff", "README.md": "你好".encode()}


class GoodHub:
    """One repository, written to a new folder each time."""

    def snapshot(self, ref: Any, repo_type: Any, patterns: Any = None) -> Path:
        if ref.repo != "name":
            raise HubUnavailable(f"there is no {ref}")
        folder = Path(tempfile.mkdtemp(prefix="twinkle-mutant-"))
        for path, data in FILES.items():
            if patterns is None or any(self.matches(path, pattern) for pattern in patterns):
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_bytes(self.bytes_of(data, patterns))
        return folder

    def matches(self, path: str, pattern: str) -> bool:
        return fnmatch.fnmatchcase(path, pattern)

    def bytes_of(self, data: bytes, patterns: Any) -> bytes:
        return data


class OtherLineEnds(GoodHub):
    def bytes_of(self, data: bytes, patterns: Any) -> bytes:
        return data.replace(b"\r\n", b"\n")


class MatchesNames(GoodHub):
    def matches(self, path: str, pattern: str) -> bool:
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern)


class RemembersTheFirst(GoodHub):
    folder: Path | None = None

    def snapshot(self, ref: Any, repo_type: Any, patterns: Any = None) -> Path:
        if self.folder is None or ref.repo != "name":
            self.folder = super().snapshot(ref, repo_type, patterns)
        return self.folder


class EmptyFolder(GoodHub):
    def snapshot(self, ref: Any, repo_type: Any, patterns: Any = None) -> Path:
        return super().snapshot(ref, repo_type, patterns) if ref.repo == "name" else Path(tempfile.gettempdir())


EXAMPLE = HubExample(repo="ms://owner/name", files=FILES)
GOOD = (GoodHub, EXAMPLE)
MUTANTS = {
    "fetches_every_file": (OtherLineEnds, EXAMPLE),
    "fetches_what_patterns_name": (MatchesNames, EXAMPLE),
    "gives_the_same_files_again": (RemembersTheFirst, EXAMPLE),
    "says_what_is_not_there": (EmptyFolder, EXAMPLE),
}
