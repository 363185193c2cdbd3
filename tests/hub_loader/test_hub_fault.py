"""A hub that is slow, cut off, overloaded, or lies: a clear error or a retry, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

import twinkle
from twinkle.core.errors import HubUnavailable
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.errors import ForbiddenFile, Tampered
from twinkle.hub_loader.hubs.modelscope import parse_advertisement
from twinkle.testing.loopback_hub import Fault, LoopbackHub

from .conftest import BOTH, loss_files, trust

FILE = r"/resolve/|FilePath="


@pytest.mark.slow
@BOTH
@pytest.mark.usefixtures("fast_retries")
@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="truncate", path=FILE),
        Fault(kind="wrong_length", path=FILE),
        Fault(kind="flip", path=FILE),
        Fault(kind="status", path=FILE, status=404),
        Fault(kind="status", path=FILE, status=403),
        Fault(kind="status", path=FILE, status=500),
        Fault(kind="redirect", path=FILE, location="http://127.0.0.1:9/elsewhere"),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status if fault.kind == 'status' else ''}",
)
def test_a_transfer_that_goes_wrong_is_an_error_and_leaves_nothing(
    hub: LoopbackHub, context: ProcessContext, scheme: str, fault: Fault
) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    hub.faults.append(fault)
    with pytest.raises((HubUnavailable, Tampered), match=f"{scheme}://o/r"):
        trust(context, f"{scheme}://o/r")
    assert not (context.settings.home / "components").exists()
    assert not (context.settings.home / "trust.json").exists()
    hub.faults.clear()
    trust(context, f"{scheme}://o/r")
    assert twinkle.build("loss", f"{scheme}://o/r")(None, None) == 1


@BOTH
def test_a_slow_transfer_gives_the_right_bytes(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    hub.faults.append(Fault(kind="slow", path=FILE, pause_s=0.001))
    trust(context, f"{scheme}://o/r")
    assert twinkle.build("loss", f"{scheme}://o/r")(None, None) == 1


@pytest.mark.usefixtures("fast_retries")
def test_a_transfer_that_is_cut_off_once_is_taken_up_again(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("hf", "o/r", loss_files(1))
    hub.faults.append(Fault(kind="truncate", path=FILE, times=1))
    trust(context, "hf://o/r")
    assert twinkle.build("loss", "hf://o/r")(None, None) == 1


@BOTH
def test_a_branch_that_moves_between_listing_and_fetching_changes_nothing(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    repository = hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    first = repository.head
    answer = hub.answer

    def moving(question: object) -> object:
        found = answer(question)  # type: ignore[arg-type]
        if repository.head == first and ("tree" in question.path or "/repo/files" in question.path):  # type: ignore[attr-defined]
            repository.commit(loss_files("'moved'"))
        return found

    hub.answer = moving  # type: ignore[method-assign, assignment]
    assert trust(context, f"{scheme}://o/r").commit == first
    assert twinkle.build("loss", f"{scheme}://o/r@{first}")(None, None) == 1
    assert repository.head != first


@BOTH
def test_a_listing_with_too_many_files_or_twins_is_refused(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    for entries in ({f"f{i}.py": 1 for i in range(2001)}, {"Impl.py": 1, "impl.py": 1}):
        hub.faults[:] = [Fault(kind="listing", entries=entries)]
        with pytest.raises(ForbiddenFile, match=r"files: a component has|differ only in case"):
            trust(context, f"{scheme}://o/r")


def test_an_answer_that_is_no_list_of_branches_is_an_error() -> None:
    with pytest.raises(HubUnavailable, match="cannot be read"):
        parse_advertisement(b"<html>sign in</html>", "ms://o/r")
    assert parse_advertisement(b"", "ms://o/r") == {}


@BOTH
def test_a_gated_or_private_repository_says_how_to_get_in(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.faults.append(Fault(kind="status", status=403 if scheme == "ms" else 401, headers={"X-Error-Code": "GatedRepo"}))
    with pytest.raises(HubUnavailable, match=r"log in with '(hf auth|modelscope) login'"):
        trust(context, f"{scheme}://o/r")


def test_a_hub_that_is_not_there_is_an_error(context: ProcessContext, hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault(kind="truncate"))
    for scheme in ("ms", "hf"):
        with pytest.raises(HubUnavailable):
            trust(context, f"{scheme}://nobody/nothing")
