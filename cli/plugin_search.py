"""``twinkle plugin search``: components on the hubs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from twinkle.cli.plugin_option import Json, print_json
from twinkle.cli.text_table import print_table
from twinkle.core.errors import HubUnavailable, TwinkleError
from twinkle.core.runtime.context import current
from twinkle.hub_loader.consent import printable
from twinkle.hub_loader.plugin import SCHEMES
from twinkle.hub_loader.search import search_hub

Query = Annotated[str, typer.Argument(metavar="QUERY", help="Words of a repository's name.")]
HubName = Annotated[str | None, typer.Option("--hub", metavar="SCHEME", help="One hub alone: ms, hf. Without, both.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="At most so many of each hub.")]


def search(query: Query, hub: HubName = None, limit: Limit = 20, as_json: Json = False) -> None:
    """Lists repositories of components (their card has the tag twinkle-component). Fetches, imports and approves none of them.

    Where one hub does not answer, what the other one has is printed all the same, and the exit code is 2.
    """
    rows: list[tuple[str, str, str]] = []
    failures: list[TwinkleError] = []
    for scheme in sorted(SCHEMES) if hub is None else [hub]:
        try:
            found = search_hub(scheme, query, limit, current())
        except TwinkleError as error:
            failures.append(error)
            continue
        rows += [(str(ref), (item.updated or "")[:10], printable(item.summary)) for ref, item in found]
    if as_json:
        print_json([{"ref": ref, "updated": updated, "summary": summary} for ref, updated, summary in rows])
    elif rows:
        print_table(Console(), ("component", "updated", "summary"), rows)
        print(f"look at one: twinkle plugin trust {rows[0][0]}")
    elif not failures:
        print(f"no component matches {query!r}")
    if failures:
        raise HubUnavailable("; ".join(map(str, failures))) from failures[0]
