"""``twinkle env``."""

from __future__ import annotations

import json
import platform
from typing import Any

from typer.testing import CliRunner

from twinkle.cli.main import app
from twinkle.core.hookspecs import hookimpl
from twinkle.core.runtime.context import ProcessContext


class BrokenPlugin:
    @hookimpl
    def twinkle_metrics(self) -> dict[str, object]:
        raise RuntimeError("out of order")


def report(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["env", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_tells_versions_device_and_settings(context: ProcessContext) -> None:
    told = report()
    assert told["versions"]["python"] == platform.python_version()
    assert told["versions"]["torch"]
    assert told["device"]["type"] == "cpu" or told["device"]["count"] >= 1
    assert told["settings"]["home"] == str(context.settings.home)


def test_it_tells_plugins_and_which_of_them_are_broken(context: ProcessContext) -> None:
    context.registry.register(BrokenPlugin(), "acme")
    plugins = report()["plugins"]
    assert plugins["twinkle.plugins_builtin.loss"] == "built in"
    assert "out of order" in plugins["acme"]


def test_as_text_it_has_one_line_a_fact() -> None:
    result = CliRunner().invoke(app, ["env"])
    assert any(line.split() == ["python", platform.python_version()] for line in result.stdout.splitlines())
