"""ModelScope through ``modelscope_hub``: the only file that imports it. Nothing of its caches is believed for components.

The service has no call that turns a branch into a commit, so this asks git's own protocol, without a git binary.
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, TYPE_CHECKING

from twinkle.core.contracts.component_hub import COMPONENT_TAG, Commit, Entry, Found, Progress, Refs
from twinkle.core.contracts.hub import RepoType
from twinkle.core.errors import HubUnavailable, MissingExtra, TwinkleError
from twinkle.core.refs import HubRef
from twinkle.hub_loader.card_tag import has_component_tag, kinds_of
from twinkle.hub_loader.errors import RevisionNotFound

if TYPE_CHECKING:
    from modelscope_hub import HubApi

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_REFS_BYTES = 4 * 1024 * 1024
_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class ModelScopeHub:
    """Reads, writes and mirrors repositories of ModelScope."""

    endpoint: str | None = None
    """None: what the SDK takes from its own environment."""
    token: str | None = field(default=None, repr=False)
    """None: what the user logged in with. It shows in no text of this object."""
    offline: bool = False
    """Nothing is asked; files come from the SDK's cache."""

    # ---- models and data sets

    def snapshot(self, ref: HubRef, repo_type: RepoType, patterns: Sequence[str] | None = None) -> Path:
        """The files of a model or data set at the commit that ``ref`` is now, in the SDK's cache; offline, what lies there."""
        api = self._api()
        revision = ref.revision
        if not self.offline:
            revision = self._commit_of(ref.repo_id, ref.revision, repo_type).id
        with _answers(f"{repo_type} {ref}"):
            folder = api.download_repo(
                ref.repo_id,
                repo_type,
                revision=revision,
                allow_patterns=None if patterns is None else list(patterns),
                local_files_only=self.offline,
            )
        return Path(folder)

    def upload(self, repo: str, folder: Path, *, private: bool, message: str, token: str | None = None) -> str:
        """Commits every file of ``folder``, large ones through the SDK's own large-file road."""
        mine = replace(self, token=token or self.token)
        mine.create(repo, private)
        with _answers(f"ms://{repo}"), redirect_stdout(sys.stderr):
            mine._api().upload_folder(repo, "model", str(folder), commit_message=message, use_cache=False)
        return mine.resolve(repo, None).id

    # ---- components: find

    def search(self, query: str, limit: int) -> Sequence[Found]:
        """By the card's tag, which the service calls a custom tag."""
        with _answers(f"ms://: search for {query!r}"):
            found = self._api().list_repos("model", search=query, page_size=limit, custom_tag=COMPONENT_TAG).items
        return [
            Found(
                repo=str(item.id),
                summary=item.description or kinds_of(item.tags),
                updated=item.last_modified.isoformat() if isinstance(item.last_modified, datetime) else None,
            )
            for item in found
            if has_component_tag(item.tags)
        ]

    # ---- components: read

    def resolve(self, repo: str, revision: str | None) -> Commit:
        """The commit of a branch or tag; a full commit is taken as it is, and its listing shows whether it exists."""
        return self._commit_of(repo, revision, "model")

    def list(self, repo: str, commit: str) -> Sequence[Entry]:
        """The files of a commit with their sha256; some answers carry git's sha1 in that field."""
        with _answers(f"ms://{repo}"):
            found = self._api().list_repo_files(repo, "model", revision=commit)
        return [
            Entry(
                path=file.path,
                size=file.size,
                sha256=file.sha256 if file.sha256 and _SHA256.fullmatch(file.sha256) else None,
                git_blob=file.sha256 if file.sha256 and _COMMIT.fullmatch(file.sha256) else None,
                is_regular=file.type == "blob",
            )
            for file in found
            if file.type != "tree"
        ]

    def fetch(self, repo: str, commit: str, entries: Sequence[Entry], into: Path, progress: Progress) -> None:
        """Exactly the listed files; the SDK makes no listing of its own."""
        api = self._api()
        from modelscope_hub.errors import FileDownloadError

        class Metered:
            """The SDK's callback: made for each file, told each block."""

            def __init__(self, filename: str, file_size: int) -> None: ...

            def update(self, size: int) -> None:
                progress(size)

            def end(self) -> None: ...

        files = [{"Path": entry.path, "Size": entry.size, "Sha256": entry.sha256, "Type": "blob"} for entry in entries]
        with tempfile.TemporaryDirectory(prefix="twinkle-ms-") as cache, _answers(f"ms://{repo}"):
            try:
                api.download_repo(
                    repo, "model", revision=commit, cache_dir=cache, local_dir=into, file_list=files, progress_callbacks=[Metered]
                )
            except FileDownloadError as error:
                for failure in error.failed_files.values():
                    if isinstance(failure, TwinkleError):  # raised by progress()
                        raise failure from error
                raise HubUnavailable(f"ms://{repo}: {error}: {'; '.join(f'{p}: {f}' for p, f in error.failed_files.items())}") from error

    def refs(self, repo: str) -> Refs:
        """Branches and tags; the service tells no history."""
        return Refs(tips={name.split("/", 2)[2]: commit for name, commit in self._advertised(repo, "model").items() if name != "HEAD"})

    # ---- components: write

    def create(self, repo: str, private: bool) -> None:
        """Makes the repository, where it does not exist."""
        api = self._api()
        from modelscope_hub.errors import AlreadyExistsError

        with _answers(f"ms://{repo}"):
            try:
                api.create_repo(repo, "model", visibility="private" if private else "public")
            except AlreadyExistsError:
                return

    def commit(self, repo: str, files: Mapping[str, bytes], remove: Sequence[str], parent: str | None, message: str) -> Commit:
        """Uploads a staged folder that holds ``files`` alone. The service takes no parent: it is compared right before."""
        head = self._advertised(repo, "model").get("HEAD")
        if parent is not None and head != parent:
            raise HubUnavailable(f"ms://{repo} changed meanwhile ({head} instead of {parent}): look at it and publish again")
        api = self._api()
        with tempfile.TemporaryDirectory(prefix="twinkle-publish-") as staged, _answers(f"ms://{repo}"):
            for path, data in files.items():
                file = Path(staged, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            if remove:
                api.delete_files(repo, "model", list(remove))
            with redirect_stdout(sys.stderr):  # the SDK prints a report, which must not mix with what a command prints
                api.upload_folder(repo, "model", staged, commit_message=message, use_cache=False, disable_tqdm=True)
        return self.resolve(repo, None)

    def tag(self, repo: str, tag: str, commit: str) -> None:
        """A new tag; an existing one is an error."""
        if tag in self.refs(repo).tips:
            raise HubUnavailable(f"ms://{repo}: the tag {tag} exists, and tags are never moved: choose a new version")
        with _answers(f"ms://{repo}"):
            self._api().create_repo_tag(repo, "model", tag, revision=commit)

    # ---- git's smart protocol

    def _commit_of(self, repo: str, revision: str | None, repo_type: RepoType) -> Commit:
        if revision is not None and _COMMIT.fullmatch(revision):
            return Commit(id=revision)
        advertised = self._advertised(repo, repo_type)
        names = ("HEAD",) if revision is None else (f"refs/tags/{revision}", f"refs/heads/{revision}")
        for name in names:
            if name in advertised:
                return Commit(id=advertised[name])
        raise RevisionNotFound(f"ms://{repo}: there is no revision {revision!r}" if revision else f"ms://{repo} is empty")

    def _advertised(self, repo: str, repo_type: RepoType) -> dict[str, str]:
        """``HEAD``, ``refs/heads/*`` and ``refs/tags/*`` -> commit. Redirects are refused: they could carry the token elsewhere."""
        config = self._api()._config
        folder = "" if repo_type == "model" else "datasets/"
        request = urllib.request.Request(f"{config.endpoint}/{folder}{repo}.git/info/refs?service=git-upload-pack")
        token = self.token or config.token
        if token:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"oauth2:{token}".encode()).decode())
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S) as response:
                body = response.read(_MAX_REFS_BYTES)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403, 404):
                message = f"ms://{repo}: there is no such repository, or it is private: check the name, or log in with 'modelscope login'"
                raise HubUnavailable(message) from error
            raise HubUnavailable(f"ms://{repo}: the hub answered {error.code} {error.reason}: try again later") from error
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise HubUnavailable(f"ms://{repo}: the hub cannot be reached: {error}") from error
        return parse_advertisement(body, f"ms://{repo}")

    def _api(self) -> HubApi:
        try:
            from modelscope_hub import HubApi
        except ImportError as error:
            raise MissingExtra("ms:// needs the package 'modelscope-hub': pip install 'twinkle-workbench[modelscope]'") from error
        return HubApi(endpoint=self.endpoint, token=self.token)


def parse_advertisement(body: bytes, where: str) -> dict[str, str]:
    """Reference -> commit of git's ``info/refs`` answer; an annotated tag stands for the commit that it points to.

    Raises:
        HubUnavailable: it is no such answer.
    """
    found: dict[str, str] = {}
    position = 0
    while position < len(body):
        try:
            length = int(body[position : position + 4], 16)
        except ValueError:
            raise HubUnavailable(f"{where}: the hub's list of branches cannot be read") from None
        line = body[position + 4 : position + length] if length else b""
        position += max(length, 4)
        commit, _, name = line.partition(b"\0")[0].decode("utf-8", "replace").strip().partition(" ")
        if _COMMIT.fullmatch(commit) and (name == "HEAD" or name.startswith(("refs/heads/", "refs/tags/"))):
            found[name.removesuffix("^{}")] = commit  # a peeled line follows its tag and replaces it
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        return None


@contextmanager
def _answers(what: str) -> Iterator[None]:
    """The SDK's errors as ours, with what was asked for and what to do."""
    import requests
    from modelscope_hub.errors import AuthenticationError, CacheNotFound, HubError, NotExistError, PermissionDeniedError

    try:
        yield
    except (NotExistError, AuthenticationError, PermissionDeniedError) as error:
        message = f"{what}: there is no such repository or file, or it is private: check the name, or log in with 'modelscope login'"
        raise HubUnavailable(message) from error
    except CacheNotFound as error:
        raise HubUnavailable(f"{what} is not in the cache, and nothing can be fetched while offline") from error
    except (HubError, requests.RequestException) as error:
        raise HubUnavailable(f"{what}: the hub did not answer as it should ({type(error).__name__}: {error}): try again later") from error
