"""A checkpoint folder to a hub."""

from __future__ import annotations

from pathlib import Path

from twinkle.core.contracts.hub import ModelUploader
from twinkle.core.errors import HubUnavailable, InvalidArgument, InvalidData
from twinkle.core.refs import parse_repo
from twinkle.core.runtime.context import current


def upload_model(folder: str | Path, repo_id: str, *, token: str | None = None, private: bool = True) -> str:
    """Uploads ``folder`` to ``[ms://|hf://]owner/name`` and returns the pinned id, ``scheme://owner/name@<commit>``.

    Raises:
        InvalidData: no such folder, or it holds a link or a hidden file: the SDKs would follow the one and publish the other.
        InvalidArgument: ``repo_id`` names a revision.
        HubUnavailable: nothing here uploads to that hub, or it refuses.
    """
    ref = parse_repo(repo_id)
    if ref.revision is not None:
        raise InvalidArgument(f"{repo_id!r}: an upload makes a new revision; write {ref.scheme}://{ref.repo_id}")
    source = Path(folder)
    if not source.is_dir():
        raise InvalidData(f"{source} is no folder: give the path that save() returned")
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_symlink() or not (path.is_file() or path.is_dir()) or any(part.startswith(".") for part in name.parts):
            raise InvalidData(f"{source} holds {str(name)!r}, which is a link, a special or a hidden file: only plain files are uploaded")
    registry = current().registry
    hub = registry.hook.twinkle_hub(scheme=ref.scheme)
    if not isinstance(hub, ModelUploader):
        what = "no plugin serves it" if hub is None else f"{type(hub).__name__} only reads"
        raise HubUnavailable(f"{repo_id!r} cannot be uploaded to: {what}")
    commit = hub.upload(ref.repo_id, source, private=private, message=f"Upload {source.name}", token=token)
    return f"{ref.scheme}://{ref.repo_id}@{commit}"
