"""A hub that is a folder: ``<root>/<scheme>/<owner>/<name>/`` holds a repository's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twinkle.core.contracts.hub import RepoType
from twinkle.core.errors import HubUnavailable
from twinkle.core.refs import HubRef


@dataclass(frozen=True, slots=True)
class MirrorHub:
    """Serves repositories from a local folder and never touches a network. A mirror has one revision: what lies there."""

    root: Path
    """What ``TWINKLE_HUB_MIRROR`` names."""

    def snapshot(self, ref: HubRef, repo_type: RepoType, patterns: Sequence[str] | None = None) -> Path:
        """The mirrored folder itself; nothing is copied, so ``patterns`` has nothing to leave out."""
        folder = self.root / ref.scheme / ref.owner / ref.repo
        if not folder.is_dir():
            raise HubUnavailable(
                f"{repo_type} {str(ref)!r} is not in the mirror TWINKLE_HUB_MIRROR={self.root}: expected the folder {folder}"
            )
        return folder
