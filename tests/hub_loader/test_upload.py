"""Checkpoints go to both hubs through the real SDKs, and come back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import LoraConfig
from safetensors.torch import load_file

from twinkle.core.errors import HubUnavailable, InvalidArgument, InvalidData
from twinkle.core.model_upload import upload_model
from twinkle.core.repository_files import repository_folder
from twinkle.model import TransformersModel
from twinkle.testing.loopback_hub import Fault, LoopbackHub

from .conftest import BOTH


@pytest.fixture(autouse=True)
def thrown_away_caches(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf_cache"))


def folder_with(tmp_path: Path, **files: bytes) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@BOTH
def test_an_adapter_comes_back_from_the_pinned_id(hub: LoopbackHub, tmp_path: Path, tiny_model_folder: Path, scheme: str) -> None:
    model = TransformersModel(model_id=tiny_model_folder, mixed_precision="no")
    model.add_adapter_to_model("default", LoraConfig(r=2, target_modules=["q_proj"]))
    saved = Path(model.save("last", output_dir=tmp_path))
    pinned = model.upload_to_hub(saved, f"{scheme}://me/mine").result(timeout=60)
    assert pinned.startswith(f"{scheme}://me/mine@") and len(pinned.rpartition("@")[2]) == 40
    assert hub.repository(scheme, "me/mine").private is True  # type: ignore[arg-type]
    back = load_file(repository_folder(pinned, "model") / "adapter_model.safetensors")
    sent = load_file(saved / "adapter_model.safetensors")
    assert back.keys() == sent.keys() and all((back[name] == sent[name]).all() for name in sent)


@BOTH
def test_a_refusal_of_the_hub_comes_out_of_the_future(hub: LoopbackHub, tmp_path: Path, tiny_model_folder: Path, scheme: str) -> None:
    hub.faults.append(Fault(kind="status", status=403))
    with pytest.raises(HubUnavailable):
        upload_model(folder_with(tmp_path, a=b"1"), f"{scheme}://me/mine")


def test_a_large_file_that_did_not_arrive_is_told(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault(kind="status", status=404, path="PUT /ms-blobs/"))
    with pytest.raises(HubUnavailable, match=r"1 file\(s\) failed to upload"):
        upload_model(folder_with(tmp_path, **{"model.safetensors": b"0" * 100_000, "config.json": b"{}"}), "ms://me/mine")


def test_links_and_hidden_files_stay_here(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, weights=b"1")
    (folder / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(InvalidData, match="'passwd'"):
        upload_model(folder, "hf://me/mine")
    (folder / "passwd").unlink()
    (folder / ".env").write_text("TOKEN=secret")
    with pytest.raises(InvalidData, match=r"'\.env'"):
        upload_model(folder, "hf://me/mine")
    assert hub.log == []


def test_what_cannot_be_uploaded_to_is_told(hub: LoopbackHub, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, weights=b"1")
    with pytest.raises(InvalidData, match="no folder"):
        upload_model(tmp_path / "none", "ms://me/mine")
    with pytest.raises(InvalidArgument, match="new revision"):
        upload_model(folder, "ms://me/mine@main")
    with pytest.raises(HubUnavailable, match="no plugin serves it"):
        upload_model(folder, "s3://me/mine")
