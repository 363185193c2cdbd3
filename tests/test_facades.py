"""The facades of ``src/twinkle``: what type checkers are told is what is forwarded, and everything forwarded is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from twinkle.core.facade_source import block, facades, with_block

FACADES = {facade.module: (Path(str(module.__file__)), facade) for module, facade in facades()}


def type_checking_imports(source: str) -> set[tuple[str, str, str]]:
    """(module, attribute, name) of every import of the ``if TYPE_CHECKING:`` block, in whatever order it stands."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            imports = [n for n in node.body if isinstance(n, ast.ImportFrom)]
            return {(str(n.module), alias.name, alias.asname or alias.name) for n in imports for alias in n.names}
    return set()


@pytest.mark.parametrize("name", FACADES)
def test_type_checkers_are_told_what_is_forwarded(name: str) -> None:
    path, facade = FACADES[name]
    told, forwarded = type_checking_imports(path.read_text(encoding="utf-8")), type_checking_imports(block(facade))
    assert told == forwarded, "run: python -m twinkle.core.facade_source"


def test_the_block_replaces_the_one_that_stands_there() -> None:
    path, facade = FACADES["twinkle.loss"]
    source = path.read_text(encoding="utf-8")
    without = source.replace("    from ", "    # from ").replace("if TYPE_CHECKING:\n", "if TYPE_CHECKING:\n    pass\n")
    assert type_checking_imports(with_block(without, facade)) == type_checking_imports(source)
    assert with_block(source, facade) == source


@pytest.mark.parametrize("name", FACADES)
def test_everything_that_is_forwarded_is_there(name: str) -> None:
    _, facade = FACADES[name]
    for attribute in facade.names:
        assert facade.forward(attribute) is not None
