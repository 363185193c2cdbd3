"""Search: what the hubs list for the card's tag, through the real SDKs; nothing is fetched or approved by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinkle.cli.scaffold import write_scaffold
from twinkle.core.errors import HubUnavailable
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.pack import pack, pack_files
from twinkle.hub_loader.search import search_hub
from twinkle.testing.loopback_hub import Fault, LoopbackHub

from .conftest import BOTH, loss_files, manifest, set_settings

CARD = b"---\nlibrary_name: twinkle\ntags:\n- twinkle-component\n- twinkle-loss\n---\n\n# A loss\n"
OTHER = b"---\nlibrary_name: transformers\ntags:\n- text-generation\n---\n"


def found(context: ProcessContext, scheme: str, query: str, limit: int = 20) -> list[str]:
    """The ids that a search gives."""
    return [str(ref) for ref, _ in search_hub(scheme, query, limit, context)]


@BOTH
def test_a_search_lists_components_by_tag_and_name_and_fetches_nothing(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    for name in ("o/half-loss", "o/other-loss", "o/reward"):
        hub.repository(scheme, name, {**loss_files(1), "README.md": CARD})  # type: ignore[arg-type]
    hub.repository(scheme, "o/loss-model", {"README.md": OTHER})  # type: ignore[arg-type]
    assert found(context, scheme, "loss") == [f"{scheme}://o/half-loss", f"{scheme}://o/other-loss"]
    assert found(context, scheme, "loss", limit=1) == [f"{scheme}://o/half-loss"]
    assert found(context, scheme, "nothing") == []
    assert [(item.summary, item.updated is not None) for _, item in search_hub(scheme, "half", 20, context)] == [("loss", True)]
    assert all("/models?" in path for path in hub.paths())  # lists alone
    assert not (context.settings.home / "components").exists()


@BOTH
def test_a_listed_name_that_is_no_id_is_left_out(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    for name in ("o/good", "o/a..b", "o/x\x1b[2J", "o/good@v1"):
        hub.repository(scheme, name, {"README.md": CARD})  # type: ignore[arg-type]
    assert found(context, scheme, "o/") == [f"{scheme}://o/good"]


@BOTH
def test_offline_asks_nothing(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    set_settings(context, offline=True)
    with pytest.raises(HubUnavailable, match=rf"{scheme}://.*offline"):
        found(context, scheme, "loss")
    assert hub.log == []


@BOTH
def test_a_hub_that_answers_with_an_error_is_an_error(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.faults.append(Fault(kind="status", path="/models", status=400))
    with pytest.raises(HubUnavailable, match=rf"{scheme}://: search"):
        found(context, scheme, "loss")


def test_what_init_and_publish_write_into_the_card_is_found(hub: LoopbackHub, context: ProcessContext, tmp_path: Path) -> None:
    hub.repository(
        "hf", "o/packed", dict(pack_files({"twinkle-component.toml": manifest("loss x impl:X").encode(), "impl.py": b"X = 1\n"}, "x").files)
    )
    write_scaffold(tmp_path / "mine", "reward", "mine")
    hub.repository("hf", "o/scaffold", dict(pack(tmp_path / "mine").files))
    assert [(str(ref), item.summary) for ref, item in search_hub("hf", "o/", 20, context)] == [
        ("hf://o/packed", "loss"),
        ("hf://o/scaffold", "reward"),
    ]
