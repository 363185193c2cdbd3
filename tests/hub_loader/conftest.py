"""What the tests of the hub loader share: folders with components, written on the spot."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WriteFiles = Callable[..., Path]

LOSS = """
class MyLoss:
    def __call__(self, inputs, outputs, **kwargs):
        return {answer}
"""


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
    from twinkle.hub_loader.loader import component_finder

    sys.meta_path.remove(component_finder())


def manifest(*components: str, project: str = "") -> str:
    """A manifest with ``kind name entry`` for each of ``components``."""
    text = f'schema = 1\n[project]\nname = "mine"\nversion = "1.0"\nlicense = "Apache-2.0"\n{project}\n'
    for component in components:
        kind, name, entry = component.split()
        text += f'[[component]]\nkind = "{kind}"\nname = "{name}"\nentry = "{entry}"\napi = 1\n'
    return text
