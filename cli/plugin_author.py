"""``twinkle plugin init``, ``test`` and ``migrate``: writing a component."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinkle.cli.plugin_option import Folder, Json, print_json
from twinkle.cli.scaffold import SCAFFOLDS, write_scaffold
from twinkle.core.errors import InvalidArgument
from twinkle.hub_loader.manifest import FILE_NAME
from twinkle.hub_loader.own_test import run_tests

Kind = Annotated[str, typer.Option("--kind", help=f"One of: {', '.join(SCAFFOLDS)}.")]
Name = Annotated[str | None, typer.Option("--name", help="The component's name; without, that of the folder.")]


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    kind: Kind = "loss",
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Writes a component whose tests are green: a manifest, the class, the conformance tests of its kind."""
    paths = write_scaffold(folder, kind, name or folder.resolve().name.replace("-", "_"))
    if as_json:
        print_json({"folder": str(folder), "files": paths})
        return
    print("\n".join(f"wrote {folder / path}" for path in paths))
    print(f"next: edit {folder / 'impl.py'}, then 'twinkle plugin test {folder}'")


def test(folder: Folder = Path("."), as_json: Json = False) -> None:
    """Runs the component's own tests with pytest, in a process of their own."""
    done = run_tests(folder, capture=as_json)
    if as_json:
        print_json({"passed": done.passed, "output": done.output})
    if not done.passed:
        raise typer.Exit(1)


def migrate(
    kind: Annotated[str, typer.Option("--kind", help="The kind of its one component.")],
    cls: Annotated[str, typer.Option("--class", help="The class in __init__.py.")],
    folder: Folder = Path("."),
    as_json: Json = False,
) -> None:
    """Writes a manifest for a component of the older layout. Imports nothing, so the class has to be named."""
    path = folder / FILE_NAME
    if path.exists():
        raise InvalidArgument(f"{path} exists already")
    if not (folder / "__init__.py").is_file():
        raise InvalidArgument(f"{folder}: the older layout has an __init__.py, which is not there")
    name = folder.resolve().name
    text = (
        f'schema = 1\n\n[project]\nname = "{name}"\nversion = "0.1.0"\nlicense = "Apache-2.0"\nsummary = ""\n\n'
        f'[[component]]\nkind = "{kind}"\nname = "{cls}"\nentry = "__init__:{cls}"\napi = 1\n'
    )
    path.write_text(text, encoding="utf-8")
    if as_json:
        print_json({"wrote": str(path)})
    else:
        print(f"wrote {path}: look at its license and version, then 'twinkle plugin validate'")
