"""``twinkle plugin``: components of hubs, from a first look to publishing one's own."""

from __future__ import annotations

import typer

from twinkle.cli.plugin_author import init, migrate, test
from twinkle.cli.plugin_lock import diff, lock, outdated, remove, update, vendor
from twinkle.cli.plugin_look import info, list_approved, verify, why
from twinkle.cli.plugin_publish import pack_component, publish_component, validate
from twinkle.cli.plugin_search import search
from twinkle.cli.plugin_trust import revoke, trust

app = typer.Typer(no_args_is_help=True, help="Components of hubs: look at them, approve them, pin them, publish them.")
app.command("search")(search)
app.command("trust")(trust)
app.command("revoke")(revoke)
app.command("list")(list_approved)
app.command("info")(info)
app.command("why")(why)
app.command("verify")(verify)
app.command("lock")(lock)
app.command("update")(update)
app.command("outdated")(outdated)
app.command("diff")(diff)
app.command("vendor")(vendor)
app.command("remove")(remove)
app.command("init")(init)
app.command("test")(test)
app.command("migrate")(migrate)
app.command("validate")(validate)
app.command("pack")(pack_component)
app.command("publish")(publish_component)
