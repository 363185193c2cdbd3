"""A repository of immutable commits: branches move, bytes of a commit never change. Ids are computed as git computes blob ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

LINK = "link:"
"""A file whose bytes begin so is listed as a symbolic link."""


@dataclass(frozen=True, kw_only=True)
class StoredCommit:
    """One state of all files."""

    id: str
    files: Mapping[str, bytes]
    parent: str | None
    message: str
    date: str


@dataclass
class Repository:
    """What one hub holds under one id."""

    name: str
    """``owner/name``."""
    default_branch: str
    private: bool = False
    is_kernel: bool = False
    """On Hugging Face: a repository of kernels, which has routes of its own."""
    commits: dict[str, StoredCommit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    proposals: dict[str, str] = field(default_factory=dict)
    """``refs/pr/<n>`` -> commit: on no branch."""

    @property
    def head(self) -> str | None:
        """The commit of the default branch."""
        return self.branches.get(self.default_branch)

    def commit(
        self,
        files: Mapping[str, bytes],
        *,
        remove: Iterable[str] = (),
        branch: str | None = None,
        message: str = "change",
        whole: bool = False,
    ) -> str:
        """A new commit on ``branch``: the parent's files with ``files`` put in (``whole``: ``files`` alone); returns its id."""
        branch = branch or self.default_branch
        commit_id = self._store(self.branches.get(branch), files, remove, message, whole)
        self.branches[branch] = commit_id
        return commit_id

    def propose(self, files: Mapping[str, bytes], number: int = 1) -> str:
        """A commit that is on no branch, as an outsider's pull request is; returns its id."""
        self.proposals[f"refs/pr/{number}"] = self._store(self.head, files, (), "proposal", False)
        return self.proposals[f"refs/pr/{number}"]

    def find(self, revision: str | None) -> StoredCommit | None:
        """The commit that ``revision`` is now."""
        name = self.default_branch if revision is None else revision
        commit_id = self.tags.get(name) or self.branches.get(name) or self.proposals.get(name) or name
        return self.commits.get(commit_id)

    def history(self, commit_id: str) -> list[StoredCommit]:
        """The commit and its ancestors, newest first."""
        found = []
        current: str | None = commit_id
        while current is not None:
            found.append(self.commits[current])
            current = self.commits[current].parent
        return found

    def _store(self, parent: str | None, files: Mapping[str, bytes], remove: Iterable[str], message: str, whole: bool) -> str:
        kept = {} if parent is None or whole else dict(self.commits[parent].files)
        for path in remove:
            kept.pop(path, None)
        kept.update(files)
        content = json.dumps([self.name, parent, message, len(self.commits), {p: git_blob(d) for p, d in sorted(kept.items())}])
        commit_id = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
        date = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
        self.commits[commit_id] = StoredCommit(id=commit_id, files=kept, parent=parent, message=message, date=date)
        return commit_id


def git_blob(data: bytes) -> str:
    """The id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
