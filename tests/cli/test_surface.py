"""The command line as users know it: a command or an option that is added, renamed or dropped changes this page too."""

from __future__ import annotations

import subprocess
import sys

import typer

from twinkle.cli.main import app

SURFACE = {
    "twinkle": ["--debug"],
    "twinkle components list": ["--json", "--kind"],
    "twinkle components show": ["--json", "KIND:NAME", "[REF]"],
    "twinkle components why": ["--json", "KIND:NAME", "[REF]"],
    "twinkle demo": ["--author", "--data", "--json", "--model", "--name", "--output", "--seed", "--steps"],
    "twinkle env": ["--json"],
    "twinkle train": ["--dry-run", "--resume", "CONFIG"],
}


def surface_of(command: object, path: str) -> dict[str, list[str]]:
    parameters = sorted(name for p in command.params for name in ([p.metavar] if p.param_type_name == "argument" else p.opts))  # type: ignore[attr-defined]
    inner = getattr(command, "commands", {})
    found = {path: parameters} if parameters or not inner else {}
    for name, sub in inner.items():
        found |= surface_of(sub, f"{path} {name}")
    return found


def test_the_surface_is_the_one_that_is_written_here() -> None:
    assert surface_of(typer.main.get_command(app), "twinkle") == SURFACE


def test_the_console_script_is_installed_and_answers_without_torch() -> None:
    code = (
        "import sys; import twinkle.cli.main; print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
