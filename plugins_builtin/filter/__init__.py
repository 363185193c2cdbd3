"""Built-in row filters."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {
    "length": "twinkle.plugins_builtin.filter._length:LengthFilter",
    "not_empty": "twinkle.plugins_builtin.filter._not_empty:NotEmptyFilter",
}


@hookimpl
def twinkle_filters() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
