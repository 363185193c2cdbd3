"""Fixtures for every test: a fresh process context, and no network but loopback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_model import make_model, make_tokenizer

from twinkle.core.registry import Registry
from twinkle.core.runtime.context import ProcessContext, current
from twinkle.testing.pytest_plugin import component_repo, fake_hub, no_network, trust_store, twinkle_registry

# Named here too, for an environment that was installed before their entry point was.
__all__ = ["component_repo", "fake_hub", "no_network", "trust_store", "twinkle_registry"]

# Triton reads this when a kernel is decorated, so it is set before any is imported: without a GPU kernels run in Triton's interpreter.
if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"

collect_ignore = ["plugin_package"]  # a package of a stranger: test_plugin_package.py installs it and runs its tests


@pytest.fixture(autouse=True)
def context(twinkle_registry: Registry) -> ProcessContext:
    """A context of its own for each test, with settings from an empty environment and a home that is thrown away."""
    return current()


@pytest.fixture(autouse=True)
def loopback_only(no_network: None) -> None:
    """A connection that would leave this machine is an error of the test."""


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny tokenizer and its ChatML template. Shared: read it only."""
    return make_tokenizer(tmp_path_factory.mktemp("tiny_tokenizer"))


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Qwen3 and its tokenizer. Shared: read it only."""
    return make_model(tmp_path_factory.mktemp("tiny_model"))
