"""The contract of a hub, as models and data sets need it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

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


@runtime_checkable
class ModelUploader(Protocol):
    """A hub that also takes models."""

    @abstractmethod
    def upload(self, repo: str, folder: Path, *, private: bool, message: str, token: str | None = None) -> str:
        """Puts the files of ``folder`` into the model repository ``repo`` (``owner/name``), which is made if it is not there.

        Args:
            private: of a repository that is made now; one that is there stays as it is.
            token: in place of the one that the hub was set up with.

        Returns:
            The commit.

        Raises:
            HubUnavailable: the hub cannot be reached, or refuses.
        """
