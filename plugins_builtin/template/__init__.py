"""Built-in templates."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {"template": "twinkle.plugins_builtin.template._template:Template"}


@hookimpl
def twinkle_templates() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
