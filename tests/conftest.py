"""Fixtures for every test: a fresh process context, and no network but loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_model, make_tokenizer

from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.settings import Settings

collect_ignore = ["plugin_package"]  # a package of a stranger: test_plugin_package.py installs it and runs its tests


@pytest.fixture(autouse=True)
def context(tmp_path: Path) -> Iterator[ProcessContext]:
    """A context of its own for each test, with settings from an empty environment and a home that is thrown away."""
    settings = Settings.load(environ={"TWINKLE_HOME": str(tmp_path / "twinkle_home")}, project=tmp_path)
    with use_context(ProcessContext.fresh(settings)) as fresh:
        yield fresh


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that would leave this machine is an error of the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            raise AssertionError(f"a test tried to reach {address}: only loopback is allowed")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny tokenizer and its ChatML template. Shared: read it only."""
    return make_tokenizer(tmp_path_factory.mktemp("tiny_tokenizer"))


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Qwen3 and its tokenizer. Shared: read it only."""
    return make_model(tmp_path_factory.mktemp("tiny_model"))
