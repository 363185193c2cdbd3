"""Fixtures for the tests of plugins and components, found by their entry point. Until one is used, they cost nothing."""

from __future__ import annotations

import importlib.util
import inspect
import socket
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twinkle.core.contracts.hub import Hub
    from twinkle.core.registry import Registry
    from twinkle.core.runtime.context import ProcessContext
    from twinkle.testing.loopback_hub import LoopbackHub

_LOOPBACK = frozenset({"localhost", "::1", ""})


@pytest.fixture
def twinkle_registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry of its own, in a process context of its own: ``twinkle.resolve`` and ``build`` of the test use it.

    Settings come from an empty environment, and ``TWINKLE_HOME`` is a folder that is thrown away."""
    from twinkle.core.runtime.context import ProcessContext, use_context
    from twinkle.core.settings import Settings

    settings = Settings.load(environ={"TWINKLE_HOME": str(tmp_path / "twinkle_home")}, project=tmp_path)
    with use_context(ProcessContext.fresh(settings)) as context:
        yield context.registry


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that would leave this machine is an error of the test; loopback works."""

    def guarded(method: Callable[..., Any], position: int) -> Callable[..., Any]:
        def call(self: socket.socket, *arguments: Any) -> Any:
            address = arguments[position]
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                raise AssertionError(f"a test tried to reach {address}: only loopback is allowed")
            return method(self, *arguments)

        return call

    for name, position in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
        method = inspect.getattr_static(socket.socket, name)
        monkeypatch.setattr(socket.socket, name, guarded(method, position))


def _is_loopback(host: str) -> bool:
    return host in _LOOPBACK or host.startswith("127.")


@pytest.fixture
def component_repo(tmp_path: Path) -> Callable[..., Path]:
    """``component_repo({"impl.py": "..."}, "loss dapo impl:DapoLoss")``: a folder with these files and a manifest; its path.

    Texts are dedented. Each further argument is a component, ``kind name entry``; without any there is no manifest. ``name=`` is that of
    the folder and the project."""

    def write(files: Mapping[str, str], *components: str, name: str = "component") -> Path:
        folder = tmp_path / name
        manifest = f'schema = 1\n\n[project]\nname = "{name}"\nversion = "1.0.0"\nlicense = "Apache-2.0"\nsummary = "A test."\n'
        for component in components:
            kind, component_name, entry = component.split()
            manifest += f'\n[[component]]\nkind = "{kind}"\nname = "{component_name}"\nentry = "{entry}"\napi = 1\n'
        for path, text in {**files, **({"twinkle-component.toml": manifest} if components else {})}.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        return folder

    return write


@dataclass(frozen=True, slots=True)
class ApprovedDigests:
    """What the test's process trusts beside what its home says."""

    context: ProcessContext

    def approve(self, ref: str, h1: str) -> None:
        """Consent to the bytes ``h1`` of ``ref``, which names a commit: ``ms://owner/repo@<40 digits>``."""
        settings = self.context.settings
        self.context.settings = replace(settings, trusted=(*settings.trusted, f"{ref}#{h1}"))


@pytest.fixture
def trust_store(twinkle_registry: Registry) -> ApprovedDigests:
    """Approves digests for the test alone: ``trust_store.approve("ms://me/mine@<commit>", "h1:...")``.

    The h1 of a folder is ``twinkle.resolve("loss", "file:/the/folder#name").h1``."""
    from twinkle.core.runtime.context import current

    return ApprovedDigests(current())


@pytest.fixture
def fake_hub(twinkle_registry: Registry, no_network: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub on loopback behind ``ms://`` and ``hf://``, through the real SDKs, with a log of requests and faults on demand.

    ``fake_hub.repository("ms", "me/mine", {"impl.py": b"..."})`` makes a repository. Caches and credentials of the SDKs are thrown away."""
    from twinkle.core.hookspecs import hookimpl
    from twinkle.core.import_string import import_attribute
    from twinkle.core.runtime.context import current
    from twinkle.testing.loopback_hub import LoopbackHub, left_connections_closed

    context = current()
    for name in ("MODELSCOPE_CACHE", "MODELSCOPE_HOME", "HF_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_INTRA_CLOUD", "false")
    if importlib.util.find_spec("huggingface_hub") is not None:  # it read its environment when it was imported
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf_home"))
    has_modelscope = importlib.util.find_spec("modelscope_hub") is not None
    forget = import_attribute("modelscope_hub.config:set_default_config", "the ModelScope SDK") if has_modelscope else lambda config: None

    class FakeHubs:
        @hookimpl
        def twinkle_hub(self, scheme: str) -> Hub | None:
            name = {"ms": "modelscope", "hf": "huggingface"}.get(scheme)
            if name is None:
                return None
            hub: Hub = twinkle_registry.resolve("hub", name).cls(endpoint=server.endpoint, token="none", offline=context.settings.offline)
            return hub

    forget(None)  # it keeps the environment that it saw first
    with left_connections_closed(), LoopbackHub() as server:
        twinkle_registry.register(FakeHubs(), "fake_hub")
        yield server
    forget(None)
