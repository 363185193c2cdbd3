"""``twinkle plugin``: components of hubs, from a first look to publishing one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from twinkle.cli.lazy_group import LazyGroup


class PluginGroup(LazyGroup):
    """The commands, in the order of a component's life."""

    entries: ClassVar[Mapping[str, str]] = {
        "search": "twinkle.cli.plugin_search:search",
        "trust": "twinkle.cli.plugin_trust:trust",
        "revoke": "twinkle.cli.plugin_trust:revoke",
        "list": "twinkle.cli.plugin_look:list_approved",
        "info": "twinkle.cli.plugin_look:info",
        "why": "twinkle.cli.plugin_look:why",
        "verify": "twinkle.cli.plugin_look:verify",
        "lock": "twinkle.cli.plugin_lock:lock",
        "update": "twinkle.cli.plugin_lock:update",
        "outdated": "twinkle.cli.plugin_lock:outdated",
        "diff": "twinkle.cli.plugin_lock:diff",
        "vendor": "twinkle.cli.plugin_lock:vendor",
        "remove": "twinkle.cli.plugin_lock:remove",
        "init": "twinkle.cli.plugin_author:init",
        "test": "twinkle.cli.plugin_author:test",
        "migrate": "twinkle.cli.plugin_author:migrate",
        "validate": "twinkle.cli.plugin_publish:validate",
        "pack": "twinkle.cli.plugin_publish:pack_component",
        "publish": "twinkle.cli.plugin_publish:publish_component",
    }


app = typer.Typer(cls=PluginGroup, no_args_is_help=True, add_completion=False)


@app.callback()
def plugin() -> None:
    """Components of hubs: look at them, approve them, pin them, publish them."""
