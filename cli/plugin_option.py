"""Arguments that several ``twinkle plugin`` commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from twinkle.core.errors import InvalidRef
from twinkle.core.refs import HubRef, parse
from twinkle.hub_loader.lock import FILE_NAME

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HubId = Annotated[str, typer.Argument(metavar="ID", help="A hub id: ms://owner/name[@revision], hf://owner/name[@revision].")]
Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="A component's folder; the current one without.")]


def hub_ref(text: str) -> HubRef:
    """``text`` as a hub id.

    Raises:
        InvalidRef: it is something else.
    """
    ref = parse(text)
    if not isinstance(ref, HubRef):
        raise InvalidRef(f"{text!r}: expected a hub id such as 'ms://owner/name@v1.0'")
    return HubRef(ref.scheme, ref.owner, ref.repo, ref.revision)


def lock_path() -> Path:
    """The lock of the current folder's project."""
    return Path.cwd() / FILE_NAME


def print_json(value: Any) -> None:
    """``value`` on standard output."""
    print(json.dumps(value, indent=1))
