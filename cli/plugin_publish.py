"""``twinkle plugin validate``, ``pack`` and ``publish``: one's own components."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinkle.cli.plugin_option import Folder, Json, hub_ref, print_json
from twinkle.core.contracts.component_hub import HubReader, HubWriter
from twinkle.core.errors import HubUnavailable, InvalidArgument
from twinkle.core.runtime.context import current
from twinkle.hub_loader.component_hub import component_hub
from twinkle.hub_loader.own_test import check_packed_tests
from twinkle.hub_loader.pack import Pack, pack
from twinkle.hub_loader.publish import publish
from twinkle.hub_loader.scan import NO_FINDINGS, scan

To = Annotated[list[str], typer.Option("--to", metavar="ID", help="Where: ms://owner/name, hf://owner/name. May be given several times.")]
Public = Annotated[bool, typer.Option("--public", help="Make new repositories public; without, they are private.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show, upload nothing.")]
AllowDirty = Annotated[bool, typer.Option("--allow-dirty", help="Publish although the folder differs from its git commit.")]
NoTest = Annotated[bool, typer.Option("--no-test", help="Publish without running the component's tests; the result says so.")]


def validate(folder: Folder = Path("."), as_json: Json = False) -> None:
    """Checks a component's folder as publishing would. Imports nothing."""
    _show(pack(folder), as_json)


def pack_component(folder: Folder = Path("."), as_json: Json = False) -> None:
    """Shows exactly what would be uploaded, and the digest that users will approve."""
    _show(pack(folder), as_json)


def publish_component(
    to: To,
    folder: Folder = Path("."),
    public: Public = False,
    dry_run: DryRun = False,
    allow_dirty: AllowDirty = False,
    no_test: NoTest = False,
    as_json: Json = False,
) -> None:
    """Runs the component's tests, uploads it in one commit, tags its version, fetches it again and compares. Private unless --public."""
    packed = pack(folder)
    refs = [hub_ref(text) for text in to]
    if packed.is_dirty and not allow_dirty:
        raise InvalidArgument(f"{folder} differs from its git commit: commit first, or say --allow-dirty, which the message records")
    if not no_test:
        check_packed_tests(packed, capture=as_json)
    tests = "not run (--no-test)" if no_test else "passed"
    if dry_run:
        _show(packed, as_json, tests)
        return
    done = []
    for ref in refs:
        hub = component_hub(ref.scheme, current())
        if not isinstance(hub, HubWriter) or not isinstance(hub, HubReader):
            raise HubUnavailable(f"{ref}: the plugin that serves {ref.scheme}:// cannot publish")
        done.append(publish(packed, hub, ref, private=not public, allow_dirty=allow_dirty))
    if as_json:
        print_json([{"ref": item.ref, "h1": item.h1, "tag": item.tag, "tests": tests} for item in done])
        return
    for item in done:
        print(f"published {item.tag}, {'public' if public else 'private where it is new'}, tests: {tests}\n  {item.ref}\n  {item.h1}")


def _show(packed: Pack, as_json: bool, tests: str = "not run") -> None:
    findings = scan(packed.tree)
    if as_json:
        uploaded = {path: len(data) for path, data in packed.files.items()}
        print_json({"h1": packed.tree.h1, "uploaded": uploaded, "component": list(packed.tree.files), "findings": findings, "tests": tests})
        return
    print(f"{packed.manifest.name} {packed.manifest.version}\n{packed.tree.h1}")
    for path, data in sorted(packed.files.items()):
        print(f"  {len(data):>8}  {path}{'' if path in packed.tree.files else '  (uploaded, no part of the digest)'}")
    print("\n".join(f"  {finding}" for finding in findings) or f"  {NO_FINDINGS}")
    print(f"  tests: {tests}")
