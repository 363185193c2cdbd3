"""docs/train.md: every key of a configuration, with the very sentence that stands in the code."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from twinkle.cli import sft_config
from twinkle.cli.config_file import SUFFIXES

PAGE = Path(__file__).parents[2] / "docs" / "train.md"


def sentences(name: str) -> dict[str, str]:
    """Field -> the string below it, of the dataclass ``name``."""
    (cls,) = [n for n in ast.parse(inspect.getsource(sft_config)).body if isinstance(n, ast.ClassDef) and n.name == name]
    found = {}
    for field, below in zip(cls.body, cls.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant), field.target.id
            found[field.target.id] = str(below.value.value)
    return found


def rows(heading: str) -> dict[str, str]:
    """The first and the last column of the table below ``heading``."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, flags=re.MULTILINE))


@pytest.mark.parametrize(("name", "heading"), [("SFTConfig", "The run"), ("DatasetConfig", "dataset"), ("LoraTable", "lora")])
def test_every_key_is_explained_as_in_the_code(name: str, heading: str) -> None:
    assert rows(heading) == {key: text.replace("``", "`") for key, text in sentences(name).items()}


def test_every_suffix_is_named() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{suffix}`" in text for suffix in SUFFIXES)
