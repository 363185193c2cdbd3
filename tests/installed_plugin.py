"""Installs toy plugins as a package manager would: a module and a ``.dist-info`` with an entry point, in a folder on ``sys.path``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from textwrap import dedent

import pytest

HEAD = "from __future__ import annotations\nfrom twinkle.core.hookspecs import hookimpl\nfrom twinkle.core.kinds import KindSpec\n"


class SitePackages:
    """A folder of installed toy distributions."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))

    def add(self, dist: str, source: str, *, version: str = "1.0", points: dict[str, str] | None = None, module: str = "") -> None:
        """Installs ``dist`` with one module of ``source`` (below the usual imports), announced by ``points`` (name -> value)."""
        module = module or dist.replace("-", "_").lower()
        self.write(module, HEAD + dedent(source))
        info = self._folder / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        lines = "".join(f"{name} = {value}\n" for name, value in (points or {"plugin": module}).items())
        (info / "entry_points.txt").write_text(f"[twinkle]\n{lines}")

    def write(self, module: str, source: str) -> None:
        """A further module beside the plugins."""
        (self._folder / f"{module}.py").write_text(source)
        self._monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()
