"""``twinkle plugin search`` as a user calls it: tables, JSON, and what a hub that does not answer looks like."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from twinkle.cli.main import app
from twinkle.core.contracts.component_hub import Found
from twinkle.core.errors import HubUnavailable
from twinkle.core.hookspecs import hookimpl
from twinkle.core.runtime.context import ProcessContext


class Searchable:
    """A hub that finds one component; ``ms`` does not answer. It reads nothing."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme

    def search(self, query: str, limit: int) -> list[Found]:
        """One row with a stranger's control characters."""
        if self.scheme == "ms":
            raise HubUnavailable("ms://: the hub did not answer")
        return [Found(repo=f"o/{query}", summary="good\x1b[2Jbye", updated="2026-01-02T03:04:05")]

    def resolve(self, repo: str, revision: str | None) -> None:
        """Never called, as the others below."""
        raise AssertionError

    list = fetch = refs = resolve


class Plugin:
    """Serves both schemes."""

    @hookimpl
    def twinkle_hub(self, scheme: str) -> Searchable:
        """The hub for ``scheme``."""
        return Searchable(scheme)


@pytest.fixture(autouse=True)
def hubs(context: ProcessContext) -> None:
    """Both hubs are the ones above."""
    context.registry.register(Plugin(), "searchable")


def run(*arguments: str) -> Result:
    """The command."""
    return CliRunner().invoke(app, ["plugin", "search", *arguments])


def test_one_hub_is_listed_with_the_next_command() -> None:
    done = run("dapo", "--hub", "hf")
    assert done.exit_code == 0
    assert "hf://o/dapo" in done.stdout
    assert "twinkle plugin trust hf://o/dapo" in done.stdout
    assert "\x1b[2J" not in done.stdout


def test_json_has_the_rows() -> None:
    (row,) = json.loads(run("dapo", "--hub", "hf", "--json").stdout)
    assert (row["ref"], row["updated"]) == ("hf://o/dapo", "2026-01-02")


def test_a_hub_that_does_not_answer_is_exit_code_2_beside_the_rows_of_the_other() -> None:
    done = run("dapo")
    assert done.exit_code == 2
    assert "hf://o/dapo" in done.stdout
    assert "ms://: the hub did not answer" in done.stderr


def test_offline_is_exit_code_2(context: ProcessContext) -> None:
    context.settings = replace(context.settings, offline=True)
    done = run("dapo", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (2, [])
    assert "offline" in done.stderr
