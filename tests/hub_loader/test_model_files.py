"""Files of models and data sets by ``ms://`` and ``hf://``: downloaded, pinned, offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from twinkle.core.errors import HubUnavailable
from twinkle.core.repository_files import repository_folder
from twinkle.core.runtime.context import ProcessContext
from twinkle.testing.loopback_hub import Fault, LoopbackHub

from .conftest import BOTH, set_settings

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "sub/notes.txt": b"notes"}


@pytest.fixture
def model_hub(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A loopback hub; the SDKs' caches are thrown away."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf_cache"))
    yield hub


def texts(folder: Path) -> dict[str, bytes]:
    """Path -> bytes, the SDKs' own hidden files aside."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.relative_to(folder).parts[0].startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@BOTH
@pytest.mark.parametrize("repo_type", ["model", "dataset"])
def test_files_arrive_and_stay_for_offline(model_hub: LoopbackHub, context: ProcessContext, scheme: str, repo_type: str) -> None:
    model_hub.repository(scheme, "o/m", FILES)  # type: ignore[arg-type]
    folder = repository_folder(f"{scheme}://o/m", repo_type)  # type: ignore[arg-type]
    assert texts(folder) == FILES
    set_settings(context, offline=True)
    model_hub.log.clear()
    assert texts(repository_folder(f"{scheme}://o/m", repo_type)) == FILES  # type: ignore[arg-type]
    assert model_hub.log == []
    with pytest.raises(HubUnavailable):
        repository_folder(f"{scheme}://o/other", repo_type)  # type: ignore[arg-type]


@BOTH
def test_patterns_choose_files(model_hub: LoopbackHub, scheme: str) -> None:
    model_hub.repository(scheme, "o/m", FILES)  # type: ignore[arg-type]
    assert set(texts(repository_folder(f"{scheme}://o/m", "model", ["*.json"]))) == {"config.json"}


@BOTH
def test_a_pinned_revision_stays_while_the_branch_moves(model_hub: LoopbackHub, scheme: str) -> None:
    repository = model_hub.repository(scheme, "o/m", FILES)  # type: ignore[arg-type]
    first = repository.head
    assert texts(repository_folder(f"{scheme}://o/m", "model")) == FILES
    repository.commit({"config.json": b"new"}, remove=["sub/notes.txt"])
    assert texts(repository_folder(f"{scheme}://o/m@{first}", "model")) == FILES
    assert texts(repository_folder(f"{scheme}://o/m", "model")) == {"config.json": b"new", "model.safetensors": b"weights"}


@BOTH
def test_an_unknown_repository_or_revision_is_an_error(model_hub: LoopbackHub, scheme: str) -> None:
    model_hub.repository(scheme, "o/m", FILES)  # type: ignore[arg-type]
    for name in (f"{scheme}://o/none", f"{scheme}://o/m@nope"):
        with pytest.raises(HubUnavailable, match=name.partition("@")[0]):
            repository_folder(name, "model")


@BOTH
def test_a_hub_that_is_down_is_an_error_and_no_older_answer(model_hub: LoopbackHub, scheme: str) -> None:
    model_hub.repository(scheme, "o/m", FILES)  # type: ignore[arg-type]
    repository_folder(f"{scheme}://o/m", "model")
    model_hub.faults.append(Fault(kind="status", status=403))
    with pytest.raises(HubUnavailable):
        repository_folder(f"{scheme}://o/m", "model")
