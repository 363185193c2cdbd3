"""The files of a model or a data set: a local folder as it is, anything else through the hub that serves its scheme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twinkle.core.contracts.hub import RepoType
from twinkle.core.errors import HubUnavailable, InvalidRef
from twinkle.core.refs import HubRef, parse_repo
from twinkle.core.runtime.context import current

_EXTRAS = {"ms": "modelscope", "hf": "huggingface"}
_PATH_BEGINNINGS = ("/", ".", "~")
"""No id of a hub begins so."""
DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".txt", ".parquet")
"""Of the files that hold rows; an id of a data set that ends so means a file."""

TOKENIZER_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py")
"""What a tokenizer needs of a model's repository; weights stay where they are."""


def locate(repo_id: str | Path, repo_type: RepoType) -> Path | HubRef:
    """What ``repo_id`` means: an existing path as it is, else the repository of a hub; no hub is asked.

    Raises:
        InvalidRef: neither an existing path nor a repository id.
    """
    local = Path(repo_id).expanduser()
    if local.exists():
        return local
    text = str(repo_id)
    names_file = repo_type == "dataset" and "://" not in text and local.suffix.lower() in DATA_SUFFIXES
    if names_file or text.startswith(_PATH_BEGINNINGS):
        here = "" if local.is_absolute() else f" (from {Path.cwd()})"
        raise InvalidRef(f"{repo_type} {text!r}: there is no such file or folder{here}")
    try:
        return parse_repo(text)
    except InvalidRef as error:
        raise InvalidRef(f"{repo_type} {text!r} is neither an existing path nor a repository id: {error}") from None


def repository_folder(repo_id: str | Path, repo_type: RepoType, patterns: Sequence[str] | None = None) -> Path:
    """The local folder (or file) of ``repo_id``: an existing path as it is, else ``[scheme://]owner/name[@revision]`` of a hub.

    Without a scheme the hub is ModelScope.

    Args:
        patterns: shell patterns of the files that are needed; None means all.

    Raises:
        HubUnavailable: no hub serves the scheme, or it does not have the repository.
        InvalidRef: neither an existing path nor a repository id.
    """
    ref = locate(repo_id, repo_type)
    if isinstance(ref, Path):
        return ref
    hub = current().registry.hook.twinkle_hub(scheme=ref.scheme)
    if hub is None:
        extra = _EXTRAS.get(ref.scheme)
        install = f"pip install 'twinkle-workbench[{extra}]'" if extra else f"install a plugin that serves {ref.scheme}://"
        raise HubUnavailable(
            f"{repo_type} {str(ref)!r}: hub support comes with an optional package: {install}; "
            "or give a local folder, or set TWINKLE_HUB_MIRROR to a folder that holds '<scheme>/<owner>/<name>/'"
        )
    folder: Path = hub.snapshot(ref, repo_type, patterns)
    return folder
