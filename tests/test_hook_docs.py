"""docs/hooks.md: every hook with its very signature."""

from __future__ import annotations

import ast
import inspect
import re

from import_graph import ROOT

from twinkle.core import hookspecs
from twinkle.core.contract_check import required_methods
from twinkle.core.kinds import KINDS


def signatures(source: str) -> dict[str, str]:
    """``name(arguments) -> result`` of every hook function that ``source`` defines."""
    functions = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name.startswith("twinkle_")]
    return {n.name: f"{n.name}({ast.unparse(n.args)}) -> {ast.unparse(n.returns) if n.returns else None}" for n in functions}


def documented() -> dict[str, str]:
    """The same of the headings of docs/hooks.md, which are ``### `signature` ``."""
    text = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    return {heading.partition("(")[0]: heading for heading in re.findall(r"^### `(.+)`$", text, re.MULTILINE)}


def test_every_hook_is_documented_with_its_signature() -> None:
    assert documented() == signatures(inspect.getsource(hookspecs))


def test_every_kind_has_a_hook_that_is_specified() -> None:
    specified = signatures(inspect.getsource(hookspecs))
    assert {spec.hook for spec in KINDS} <= specified.keys()


def test_every_hook_has_its_sentence_in_the_source() -> None:
    for name in signatures(inspect.getsource(hookspecs)):
        assert inspect.getdoc(vars(hookspecs)[name]), name


def test_every_kind_is_documented_with_its_contract_and_methods() -> None:
    sections = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8").split("\n### `")
    for spec in KINDS:
        section = next(s for s in sections if s.startswith(f"{spec.hook}("))
        words = " ".join(section.split())
        assert f"`{spec.contract}`" in words and spec.summary in words
        assert all(f"`{method}`" in words for method in required_methods(spec)), spec.name
