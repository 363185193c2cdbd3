"""The command line as users know it: a command or an option that is added, renamed or dropped changes this page too."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import typer
import typer.core

from twinkle.cli.main import app

SURFACE = {
    "twinkle": ["--debug"],
    "twinkle components list": ["--json", "--kind"],
    "twinkle components show": ["--json", "KIND:NAME", "[REF]"],
    "twinkle components why": ["--json", "KIND:NAME", "[REF]"],
    "twinkle demo": ["--author", "--data", "--json", "--model", "--name", "--output", "--seed", "--steps"],
    "twinkle env": ["--json"],
    "twinkle plugin diff": ["--json", "ID"],
    "twinkle plugin info": ["--json", "ID"],
    "twinkle plugin init": ["--json", "--kind", "--name", "FOLDER"],
    "twinkle plugin list": ["--json"],
    "twinkle plugin lock": ["--json", "ID..."],
    "twinkle plugin migrate": ["--class", "--json", "--kind", "[FOLDER]"],
    "twinkle plugin outdated": ["--json"],
    "twinkle plugin pack": ["--json", "[FOLDER]"],
    "twinkle plugin publish": ["--allow-dirty", "--dry-run", "--json", "--no-test", "--public", "--to", "[FOLDER]"],
    "twinkle plugin remove": ["--json", "ID"],
    "twinkle plugin revoke": ["--json", "WHAT"],
    "twinkle plugin search": ["--hub", "--json", "--limit", "QUERY"],
    "twinkle plugin test": ["--json", "[FOLDER]"],
    "twinkle plugin trust": ["--allow-unmerged", "--json", "--lock", "--no-lock", "--sha256", "[ID]"],
    "twinkle plugin update": ["--json", "ID"],
    "twinkle plugin validate": ["--json", "[FOLDER]"],
    "twinkle plugin vendor": ["--json"],
    "twinkle plugin verify": ["--explain", "--json"],
    "twinkle plugin why": ["--json", "ID"],
    "twinkle train": ["--dry-run", "--resume", "CONFIG"],
}


def surface_of(command: Any, path: str) -> dict[str, list[str]]:
    """Each command's arguments (as the help shows them) and options, below ``path``."""
    names = sorted(name for p in command.params for name in ([p.metavar] if p.param_type_name == "argument" else p.opts))
    groups = {n: command.get_command(None, n) for n in command.list_commands(None)} if isinstance(command, typer.core.TyperGroup) else {}
    found = {path: names} if names or not groups else {}
    for name, inner in groups.items():
        found |= surface_of(inner, f"{path} {name}")
    return found


def test_the_surface_is_the_one_that_is_written_here() -> None:
    assert surface_of(typer.main.get_command(app), "twinkle") == SURFACE


def test_the_console_script_is_installed_and_answers_without_torch() -> None:
    code = (
        "import sys; import twinkle.cli.main; print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
