"""The contract of a hub, as models and data sets need it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from twinkle.core.refs import HubRef

RepoType = Literal["model", "dataset"]


class Hub(Protocol):
    """Fetches the files of models and data sets."""

    @abstractmethod
    def snapshot(self, ref: HubRef, repo_type: RepoType, patterns: Sequence[str] | None = None) -> Path:
        """A local folder with the files of ``ref`` whose path matches one of ``patterns`` (shell style; None: all of them).

        Raises:
            HubUnavailable: the repository or revision is not there, or the hub cannot be reached.
        """
