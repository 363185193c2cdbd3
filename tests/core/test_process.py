"""Rank, address, logger and requirements of a process."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import packaging.requirements
import pytest

from twinkle.core.errors import InvalidArgument, MissingExtra
from twinkle.core.logger import get_logger
from twinkle.core.process import find_free_port, find_node_ip, is_master
from twinkle.core.requirement import exists, requires


@pytest.mark.parametrize(("rank", "master"), [(None, True), ("0", True), ("1", False), ("12", False)])
def test_rank_0_or_no_rank_is_master(rank: str | None, master: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_master() is master


def test_the_address_is_the_one_on_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_node_ip(towards="127.0.0.1") == "127.0.0.1"

    def unreachable(self: socket.socket, address: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert find_node_ip() == "127.0.0.1"


def test_a_free_port_can_be_listened_on() -> None:
    port = find_free_port("127.0.0.1")
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port and port > 1023


def test_distributions_and_modules_exist() -> None:
    assert exists("pluggy") and exists("twinkle") and exists("importlib-metadata")
    assert not exists("no-such-package") and not exists("no.such.module")


def test_versions_are_compared() -> None:
    installed = packaging.__version__
    assert exists(f"packaging=={installed}") and exists(f"packaging>={installed},<1000") and exists("pluggy >= 0.1")
    assert not exists(f"packaging<{installed}") and not exists("no-such-package>=1")
    requires(f"packaging>={installed}")


def test_what_is_missing_is_said_with_its_cure() -> None:
    with pytest.raises(MissingExtra, match="'no-such-package' is needed, but it is not installed: pip install 'no-such-package'"):
        requires("no-such-package")
    with pytest.raises(ImportError, match=r"'packaging<1' is needed, but packaging \d.* is installed: pip install 'packaging<1'"):
        requires("packaging<1")
    with pytest.raises(InvalidArgument, match=r"expected a requirement such as 'torch>=2\.6'"):
        requires("torch >> 2")


# ---- the logger


@pytest.fixture
def name() -> Iterator[str]:
    """A logger that nothing else uses, taken away afterwards."""
    yield "twinkle_test_logger"
    logging.getLogger("twinkle_test_logger").handlers.clear()
    logging.getLogger("twinkle_test_logger").filters.clear()
    logging.getLogger("twinkle_test_logger").setLevel(logging.NOTSET)


def set_up_no_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes away pytest's own handlers, which stand for a program that has set up logging."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


def test_messages_are_shown_once_without_setting_up(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_up_no_logging(monkeypatch)
    assert get_logger(name) is get_logger(name)
    get_logger(name).info("loss %.1f", 2.5)
    get_logger(name).debug("quiet")
    assert capsys.readouterr() == ("", f"[INFO:{name}] loss 2.5\n")


def test_only_rank_0_tells_what_all_know(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_up_no_logging(monkeypatch)
    monkeypatch.setenv("RANK", "1")
    get_logger(name).info("step")
    get_logger(name).warning("disk full")
    get_logger(name).getChild("part").info("step")
    assert capsys.readouterr().err == f"[WARNING:{name}] disk full\n"
    monkeypatch.setenv("RANK", "0")
    get_logger(name).info("step")
    assert capsys.readouterr().err == f"[INFO:{name}] step\n"


def test_a_program_with_logging_of_its_own_gets_each_message_once(
    name: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    get_logger(name).info("here")
    assert [record.getMessage() for record in caplog.records] == ["here"]
    assert capsys.readouterr().err == ""


def test_a_level_that_the_program_chose_stays(name: str) -> None:
    logging.getLogger(name).setLevel(logging.ERROR)
    assert get_logger(name).level == logging.ERROR
