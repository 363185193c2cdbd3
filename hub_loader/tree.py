"""A component's files as one immutable value, with its digest. What is hashed here is stored, shown and run: there is no second read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from twinkle.hub_loader.file_rule import Caps, check_listing


@dataclass(frozen=True)
class ComponentTree:
    """Path -> bytes of everything that a component is made of. Make one with :meth:`of`, which checks the rules."""

    files: Mapping[str, bytes]

    @classmethod
    def of(cls, files: Mapping[str, bytes], caps: Caps | None = None, allow_native: bool = False) -> ComponentTree:
        """The tree of ``files``, excluded ones left out.

        Raises:
            ForbiddenFile: a path, type or size breaks a rule.
        """
        kept = check_listing({path: len(data) for path, data in files.items()}, caps, allow_native)
        return cls(MappingProxyType({path: bytes(files[path]) for path in kept}))

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Path -> sha256 (hex), in bytewise order of the paths."""
        return {path: hashlib.sha256(self.files[path]).hexdigest() for path in sorted(self.files, key=str.encode)}

    @cached_property
    def h1(self) -> str:
        """``h1:`` + sha256 of the lines ``<sha256>  <path>``, as Go's dirhash does.

        In a folder: ``find . -type f | sed 's|^\\./||' | LC_ALL=C sort | xargs sha256sum | sha256sum``.
        """
        return h1_of(self.digests)

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(map(len, self.files.values()))


def h1_of(digests: Mapping[str, str]) -> str:
    """The digest of a tree from the sha256 of each of its files."""
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests, key=str.encode))
    return "h1:" + hashlib.sha256(lines.encode()).hexdigest()
