"""What the tests of the hub loader share: folders with components, and a loopback hub that the real SDKs talk to."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from modelscope_hub.config import set_default_config

from twinkle.core.contracts.hub import Hub
from twinkle.core.hookspecs import hookimpl
from twinkle.core.refs import HubRef, parse
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.approve import approve, look_at
from twinkle.hub_loader.grant import Grant
from twinkle.hub_loader.hubs.huggingface import HuggingFaceHub
from twinkle.hub_loader.hubs.modelscope import ModelScopeHub
from twinkle.hub_loader.loader import component_finder
from twinkle.hub_loader.source import hub_source
from twinkle.testing.loopback_hub import LoopbackHub, left_connections_closed

WriteFiles = Callable[..., Path]

LOSS = """
class MyLoss:
    def __call__(self, inputs, outputs, **kwargs):
        return {answer}
"""
BOTH = pytest.mark.parametrize("scheme", ["ms", "hf"])


def loss_files(answer: object, **more: str) -> dict[str, bytes]:
    """A component of the older layout, with further files."""
    files = {"__init__.py": LOSS.format(answer=answer), **{name.replace("__", "/") + ".py": text for name, text in more.items()}}
    return {path: textwrap.dedent(text).encode() for path, text in files.items()}


def manifest(*components: str, project: str = "", version: str = "1.0") -> str:
    """A manifest with ``kind name entry`` for each of ``components``."""
    text = f'schema = 1\n[project]\nname = "mine"\nversion = "{version}"\nlicense = "Apache-2.0"\n{project}\n'
    for component in components:
        kind, name, entry = component.split()
        text += f'[[component]]\nkind = "{kind}"\nname = "{name}"\nentry = "{entry}"\napi = 1\n'
    return text


@pytest.fixture
def write_files(tmp_path: Path) -> WriteFiles:
    """``write_files("mine", {"a.py": "text"})``: the folder, its texts dedented."""

    def write(name: str, files: dict[str, str]) -> Path:
        for path, text in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture(autouse=True)
def no_component_stays() -> Iterator[None]:
    """Components that a test imported are gone after it, so that no test depends on another."""
    yield
    for name in [n for n in sys.modules if n.startswith("twinkle_components")]:
        del sys.modules[name]
    sys.meta_path.remove(component_finder())


class LoopbackPlugin:
    """Serves both schemes from a loopback hub, through the real SDKs."""

    def __init__(self, context: ProcessContext, endpoint: str) -> None:
        self.context = context
        self.endpoint = endpoint

    @hookimpl
    def twinkle_hub(self, scheme: str) -> Hub | None:
        """The hub for ``ms`` and ``hf``."""
        made: dict[str, Any] = {"ms": ModelScopeHub, "hf": HuggingFaceHub}
        return made[scheme](endpoint=self.endpoint, token="secret-token", offline=self.context.settings.offline) if scheme in made else None


@pytest.fixture
def hub(context: ProcessContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A loopback hub behind ``ms://`` and ``hf://``; caches, credentials and the current folder are thrown away."""
    for name in ("MODELSCOPE_CACHE", "MODELSCOPE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "false")
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    set_default_config(None)  # the SDK keeps the environment that it saw first
    with left_connections_closed(), LoopbackHub() as server:
        context.registry.register(LoopbackPlugin(context, server.endpoint), "loopback")
        yield server
    set_default_config(None)


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs' pauses between retries take no time."""
    import modelscope_hub._download
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(modelscope_hub._download, "DOWNLOAD_RETRY_TIMES", 1)
    monkeypatch.setattr(modelscope_hub._download, "DOWNLOAD_INTEGRITY_RETRY_BACKOFF", 0)


def hub_ref(text: str) -> HubRef:
    """``text`` as a hub reference."""
    ref = parse(text)
    assert isinstance(ref, HubRef)
    return ref


def trust(context: ProcessContext, text: str, lock: bool = False, **how: Any) -> Grant:
    """What ``twinkle plugin trust`` does after the answer yes."""
    source = hub_source(context)
    ref = hub_ref(text)
    return approve(source, ref, look_at(source, ref, **how), Path.cwd() / "twinkle.lock" if lock else None)


def set_settings(context: ProcessContext, **changes: Any) -> None:
    """Other settings for the rest of the test."""
    context.settings = replace(context.settings, **changes)


def child_environment(context: ProcessContext, hub: LoopbackHub | None = None) -> dict[str, str]:
    """The environment of a process that shares this test's home and hub."""
    environment = {**os.environ, "TWINKLE_HOME": str(context.settings.home)}
    if hub is not None:
        environment |= {"MODELSCOPE_ENDPOINT": hub.endpoint, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
    return environment
