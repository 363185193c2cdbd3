"""Fixtures for the tests of plugins and components; pytest finds this module by its entry point. It imports nothing but pytest."""

from __future__ import annotations

import inspect
import socket
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twinkle.core.registry import Registry

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
