"""``twinkle components``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from twinkle.cli.main import app
from twinkle.core.hookspecs import hookimpl
from twinkle.core.runtime.context import ProcessContext


class HalfLoss:
    """Half of the mean of ``logps``."""

    def __init__(self, weight: float = 0.5, *, names: tuple[str, ...] = ("a",)) -> None:
        self.weight = weight

    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        """A scalar."""
        return outputs["logps"].mean() * self.weight


class OpenLoss(HalfLoss):
    """Takes anything."""

    def __init__(self, **options: Any) -> None: ...


class AcmePlugin:
    @hookimpl
    def twinkle_losses(self) -> dict[str, object]:
        return {"half": HalfLoss, "open": OpenLoss}


class BrokenPlugin:
    @hookimpl
    def twinkle_losses(self) -> dict[str, object]:
        raise RuntimeError("no losses today")


@pytest.fixture
def acme(context: ProcessContext) -> None:
    context.registry.register(AcmePlugin(), "acme")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["components", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["components", *arguments])
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert not result.stdout
    return result.stderr


def test_list_shows_built_in_and_installed_components(acme: None) -> None:
    lines = [line.split() for line in run("list").splitlines()]
    assert ["cross_entropy", "loss", "CrossEntropyLoss", "twinkle"] in lines
    assert ["half", "loss", "HalfLoss", "acme"] in lines


def test_list_of_one_kind_has_no_other(acme: None) -> None:
    rows = json.loads(run("list", "--kind", "loss", "--json"))["components"]
    assert {row["kind"] for row in rows} == {"loss"}
    assert {"half", "cross_entropy"} <= {row["name"] for row in rows}


def test_list_shows_a_broken_plugin_and_why(context: ProcessContext) -> None:
    context.registry.register(BrokenPlugin(), "broken_inc")
    assert "no losses today" in run("list")
    (broken,) = json.loads(run("list", "--json"))["broken_plugins"]
    assert "broken_inc" in broken and "RuntimeError: no losses today" in broken


def test_list_imports_no_component_and_no_torch() -> None:
    code = (
        "import sys\n"
        "from twinkle.cli.main import main\n"
        "sys.argv = ['twinkle', 'components', 'list']\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code, exit.code\n"
        "heavy = [m for m in sys.modules if m.partition('.')[0] in ('torch', 'transformers', 'datasets', 'peft', 'matplotlib')]\n"
        "components = [m for m in sys.modules if m.startswith('twinkle.plugins_builtin.') and m.rpartition('.')[2].startswith('_')]\n"
        "print(heavy, components, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[] []"
    assert "cross_entropy" in done.stdout


def test_show_gives_class_arguments_contract_and_provenance(acme: None) -> None:
    text = run("show", "loss:half")
    assert "HalfLoss" in text
    assert "Half of the mean of ``logps``." in text
    rows = [line.split() for line in text.splitlines()]
    assert ["weight", "0.5", "float"] in rows
    assert ["names", "('a',)", "tuple[str,", "...]"] in rows
    assert "twinkle.core.contracts.loss:Loss" in text
    assert ["trust", "installed"] in rows


def test_show_as_json(acme: None) -> None:
    shown = json.loads(run("show", "loss", "half", "--json"))
    assert shown["arguments"][0] == {"name": "weight", "default": "0.5", "type": "float"}
    assert shown["arguments_checked"] is True
    assert shown["provenance"]["name"] == "half"


def test_why_says_how_a_name_was_found_and_that_its_arguments_are_checked(acme: None) -> None:
    assert run("why", "loss:half") == run("why", "loss", "half")
    assert "announced by acme alone" in run("why", "loss", "half")
    assert "a typo is an error" in run("why", "loss", "half")


def test_why_says_where_arguments_cannot_be_checked(acme: None) -> None:
    assert "cannot be checked" in run("why", "loss:open")
    assert json.loads(run("why", "loss:open", "--json"))["arguments_checked"] is False


def test_an_unknown_name_is_one_message_with_a_suggestion(acme: None) -> None:
    assert refused("show", "loss:halv").strip() == "error: no loss is named 'loss:halv'. Did you mean 'half'?"


def test_a_name_without_its_kind_is_refused() -> None:
    assert "write 'loss:grpo'" in refused("why", "grpo")


def test_an_unknown_kind_is_refused() -> None:
    assert "no kind is named 'lossy'" in refused("list", "--kind", "lossy")


def test_debug_shows_where_the_error_was_raised() -> None:
    result = CliRunner().invoke(app, ["--debug", "components", "why", "grpo"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
