"""Hugging Face through ``huggingface_hub``: the only file that imports it. Nothing of its caches is believed for components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twinkle.core.contracts.component_hub import COMPONENT_TAG, Commit, Entry, Found, Progress, Refs
from twinkle.core.contracts.hub import RepoType
from twinkle.core.errors import HubUnavailable, MissingExtra, TwinkleError
from twinkle.core.refs import HubRef
from twinkle.hub_loader.card_tag import has_component_tag, kinds_of
from twinkle.hub_loader.errors import RevisionNotFound

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class HuggingFaceHub:
    """Reads, writes and mirrors repositories of a Hugging Face hub."""

    endpoint: str | None = None
    """None: what the SDK takes from its own environment."""
    token: str | None = field(default=None, repr=False)
    """None: what the user logged in with. It shows in no text of this object."""
    offline: bool = False
    """Nothing is asked; files come from the SDK's cache."""

    # ---- models and data sets

    def snapshot(self, ref: HubRef, repo_type: RepoType, patterns: Sequence[str] | None = None) -> Path:
        """The files of a model or data set, in the SDK's cache, with its progress bars; offline, what lies there.

        The revision is asked for first: where the hub does not answer, the SDK alone would silently take what it was last time.
        """
        api = self._api()
        with _answers(f"{repo_type} {ref}", ref.revision):
            if not self.offline:
                api.repo_info(ref.repo_id, repo_type=repo_type, revision=ref.revision)
            folder = api.snapshot_download(
                repo_id=ref.repo_id,
                repo_type=repo_type,
                revision=ref.revision,
                allow_patterns=None if patterns is None else list(patterns),
                local_files_only=self.offline,
            )
        return Path(folder)

    def upload(self, repo: str, folder: Path, *, private: bool, message: str, token: str | None = None) -> str:
        """One commit with every file of ``folder``, large ones through the SDK's own large-file road."""
        api = replace(self, token=token or self.token)._api()
        with _answers(f"hf://{repo}"):
            api.create_repo(repo, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
        return str(done.oid)

    # ---- components: find

    def search(self, query: str, limit: int) -> Sequence[Found]:
        """By the card's tag; the list has no summary, so the kinds stand for it."""
        with _answers(f"hf://: search for {query!r}"):
            found = list(self._api().list_models(filter=COMPONENT_TAG, search=query, limit=limit, expand=["lastModified", "tags"]))
        return [
            Found(
                repo=item.id,
                summary=kinds_of(item.tags or ()),
                updated=None if item.last_modified is None else item.last_modified.isoformat(),
            )
            for item in found
            if has_component_tag(item.tags or ())
        ]

    # ---- components: read

    def resolve(self, repo: str, revision: str | None) -> Commit:
        """Asks for the commit anew each time; a cached answer is never used."""
        with _answers(f"hf://{repo}", revision):
            found: Any = _either_type(lambda kind: self._api().repo_info(repo, repo_type=kind, revision=revision))
        if found.sha is None:
            raise RevisionNotFound(f"hf://{repo}: the hub gives no commit for {revision!r}")
        return Commit(id=found.sha, date=None if found.last_modified is None else found.last_modified.isoformat())

    def list(self, repo: str, commit: str) -> Sequence[Entry]:
        """The tree of a commit; large files carry their sha256, small ones git's blob id."""
        from huggingface_hub.hf_api import RepoFile

        with _answers(f"hf://{repo}", commit):
            found = _either_type(lambda kind: list(self._api().list_repo_tree(repo, recursive=True, revision=commit, repo_type=kind)))
        files = (item for item in found if isinstance(item, RepoFile))
        return [
            Entry(
                path=file.path,
                size=file.size,
                sha256=None if file.lfs is None else file.lfs.sha256,
                git_blob=file.blob_id if file.lfs is None else None,
            )
            for file in files
        ]

    def fetch(self, repo: str, commit: str, entries: Sequence[Entry], into: Path, progress: Progress) -> None:
        """Each file by its exact name: patterns would read ``[`` and ``*`` in names as globs."""
        from huggingface_hub.utils.tqdm import tqdm

        class Metered(tqdm):
            def update(self, n: float | None = 1) -> None:
                progress(int(n or 0))
                super().update(n)

        api = self._api()
        with _answers(f"hf://{repo}", commit):
            kind, _ = _either_type(lambda kind: (kind, api.repo_info(repo, repo_type=kind, revision=commit)))
        for entry in entries:
            with _answers(f"hf://{repo}", commit):
                api.hf_hub_download(
                    repo, entry.path, repo_type=kind, revision=commit, local_dir=into, force_download=True, tqdm_class=Metered
                )

    def refs(self, repo: str) -> Refs:
        """Branches, tags and every commit below them; pull requests are left out."""
        api = self._api()
        with _answers(f"hf://{repo}"):
            kind, found = _either_type(lambda kind: (kind, api.list_repo_refs(repo, repo_type=kind)))
            tips = {ref.name: ref.target_commit for ref in (*found.branches, *found.tags)}
            branches = [branch.name for branch in found.branches]
            history = {c.commit_id for name in branches for c in api.list_repo_commits(repo, revision=name, repo_type=kind)}
        return Refs(tips=tips, history=frozenset(history))

    # ---- components: write

    def create(self, repo: str, private: bool) -> None:
        """Makes the repository, where it does not exist."""
        with _answers(f"hf://{repo}"):
            self._api().create_repo(repo, private=private, exist_ok=True)

    def commit(self, repo: str, files: Mapping[str, bytes], remove: Sequence[str], parent: str | None, message: str) -> Commit:
        """One commit; the hub refuses it where ``parent`` is no longer the head."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [CommitOperationAdd(path, data) for path, data in files.items()]
        operations += [CommitOperationDelete(path) for path in remove]
        with _answers(f"hf://{repo}"):
            done = self._api().create_commit(repo, operations, commit_message=message, parent_commit=parent)
        return Commit(id=done.oid)

    def tag(self, repo: str, tag: str, commit: str) -> None:
        """A new tag; an existing one is an error."""
        with _answers(f"hf://{repo}"):
            self._api().create_tag(repo, tag=tag, revision=commit, exist_ok=False)

    def _api(self) -> HfApi:
        try:
            from huggingface_hub import HfApi
        except ImportError as error:
            raise MissingExtra("hf:// needs the package 'huggingface_hub': pip install 'twinkle-workbench[huggingface]'") from error
        return HfApi(endpoint=self.endpoint, token=self.token, library_name="twinkle-workbench")


def _either_type(ask: Callable[[str], Answer]) -> Answer:
    """The answer for the model repository of that name; where there is none, for the repository of kernels."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return ask("model")
    except GatedRepoError:
        raise
    except RepositoryNotFoundError as error:
        try:
            return ask("kernel")
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            raise error from None


@contextmanager
def _answers(what: str, revision: str | None = None) -> Iterator[None]:
    """The SDK's errors as ours, with what was asked for and what to do."""
    import httpx2
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        RevisionResolutionError,
    )

    try:
        yield
    except RevisionNotFoundError as error:
        raise RevisionNotFound(f"{what}: there is no revision {revision!r}") from error
    except GatedRepoError as error:
        raise HubUnavailable(f"{what}: the repository is gated: ask for access on its page, then log in with 'hf auth login'") from error
    except RepositoryNotFoundError as error:
        raise HubUnavailable(f"{what}: no such repository, or it is private: check the name, or log in with 'hf auth login'") from error
    except (EntryNotFoundError, OfflineModeIsEnabled, RevisionResolutionError) as error:
        raise HubUnavailable(f"{what}: {error}") from error
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        raise HubUnavailable(f"{what}: the hub did not answer as it should ({type(error).__name__}: {error}): try again later") from error
    except (OSError, ValueError) as error:  # the SDK raises bare ones for bodies of the wrong length and answers without its headers
        if isinstance(error, TwinkleError):
            raise
        raise HubUnavailable(f"{what}: the transfer failed: {error}") from error
