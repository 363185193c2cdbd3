"""A command imports what it needs: nothing heavy, and no other command."""

from __future__ import annotations

import json

import pytest

from benchmarks.fresh_python import output_of

HEAVY = {"torch", "numpy", "transformers", "datasets", "peft", "ray", "pandas", "pyarrow"}
MAX_MODULES = 450
"""Typer, rich and pydantic are 300 of them."""
CALL = """
import contextlib, io, json, sys
from twinkle.cli.main import main
sys.argv = ["twinkle", *{arguments!r}]
with contextlib.redirect_stdout(io.StringIO()) as shown:
    try:
        main()
    except SystemExit as exit:
        assert not exit.code, exit.code
assert {shows!r} in shown.getvalue(), shown.getvalue()
print(json.dumps(list(sys.modules)))
"""


def modules_of(arguments: str, shows: str) -> set[str]:
    """The modules of a fresh Python after ``twinkle <arguments>``, which prints ``shows`` among others."""
    return set(json.loads(output_of(CALL.format(arguments=arguments.split(), shows=shows)).splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "shows"), [("--help", "Fine-tune a model"), ("plugin list", "digest"), ("components list", "CrossEntropyLoss")]
)
def test_a_light_command_imports_nothing_heavy(arguments: str, shows: str) -> None:
    modules = modules_of(arguments, shows)
    assert not modules & HEAVY
    assert len(modules) <= MAX_MODULES, len(modules)


def test_a_command_imports_no_other_command() -> None:
    modules = {name for name in modules_of("plugin list", "digest") if name.startswith("twinkle.cli.")}
    assert modules == {f"twinkle.cli.{name}" for name in ("lazy_group", "main", "plugin", "plugin_look", "plugin_option", "text_table")}


def test_the_help_of_all_commands_imports_none_of_the_hub() -> None:
    assert not {
        name for name in modules_of("--help", "Components of hubs") if name.startswith(("twinkle.hub_loader", "twinkle.cli.plugin_"))
    }
