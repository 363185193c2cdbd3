"""The content-addressed store: ``$TWINKLE_HOME/components/sha256/<h1>/`` holds the files of one tree and nothing else, read-only."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from twinkle.hub_loader.errors import ForbiddenFile, Tampered
from twinkle.hub_loader.file_rule import Caps
from twinkle.hub_loader.tree import ComponentTree


@dataclass(frozen=True, slots=True)
class ComponentStore:
    """Trees by their digest. An entry is there as a whole or not at all, and is verified each time it is read."""

    home: Path
    vendored: Path | None = None
    """A project's folder of trees by digest, read where the home has none. It need not be trusted: the digest decides."""

    def folder(self, h1: str) -> Path:
        """Where the tree with this digest lies, or would."""
        return self.home / "components" / "sha256" / h1.removeprefix("h1:")

    def put(self, tree: ComponentTree) -> Path:
        """Stores ``tree``; of several processes that store it at once one wins, and all find the same files."""
        folder = self.folder(tree.h1)
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
        try:
            for path, data in tree.files.items():
                file = partial / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                file.chmod(0o444)
            partial.chmod(0o755)
            try:
                os.rename(partial, folder)
            except OSError:
                if not folder.is_dir():
                    raise
                shutil.rmtree(partial)  # another process was first
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return folder

    def get(self, h1: str, files: Mapping[str, str] | None = None) -> ComponentTree | None:
        """The tree with this digest, read once and verified; None where it is not stored.

        Args:
            files: path -> sha256 as approved, to name the file that differs.

        Raises:
            Tampered: the folder has other bytes than its name says.
        """
        folder = self.folder(h1)
        if not folder.is_dir() and self.vendored is not None:
            folder = self.vendored / folder.name
        if not folder.is_dir():
            return None
        try:
            tree = ComponentTree.of(dict(_read_all(folder)), allow_native=True)
        except ForbiddenFile as error:
            raise Tampered(f"{folder}: {error}; remove the folder and fetch again") from error
        if tree.h1 != h1:
            raise Tampered(f"{folder}: {_difference(tree, files)}; remove the folder and fetch again")
        return tree

    def vendor(self, h1: str) -> Path:
        """Copies a stored tree into the project's folder.

        Raises:
            FileNotFoundError: it is not stored, or there is no such folder.
        """
        tree = self.get(h1)
        if tree is None or self.vendored is None:
            raise FileNotFoundError(f"{h1} is not stored")
        target = self.vendored / self.folder(h1).name
        for path, data in tree.files.items():
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return target

    def remove(self, h1: str) -> None:
        """Takes the entry away, if it is there."""
        folder = self.folder(h1)
        if folder.is_dir():
            gone = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-")) / "gone"
            os.rename(folder, gone)
            shutil.rmtree(gone.parent)


def _read_all(folder: Path) -> Iterator[tuple[str, bytes]]:
    left = Caps().total_bytes
    for root, names, files in os.walk(folder):
        for name in [*names, *files]:
            if stat.S_ISLNK(os.lstat(os.path.join(root, name)).st_mode):
                raise ForbiddenFile(f"{os.path.join(root, name)} is a link")
        for name in files:
            path = Path(root, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise ForbiddenFile(f"{path} is no regular file")
                data = file.read(left + 1)
            left -= len(data)
            if left < 0:
                raise ForbiddenFile(f"more than {Caps().total_bytes} bytes")
            yield path.relative_to(folder).as_posix(), data


def _difference(tree: ComponentTree, files: Mapping[str, str] | None) -> str:
    if not files:
        return f"its files have the digest {tree.h1}"
    wrong = sorted(path for path in {*files, *tree.digests} if files.get(path) != tree.digests.get(path))
    return f"{', '.join(map(ascii, wrong))} differ{'s' if len(wrong) == 1 else ''} from what was approved"
