"""Built-in data sets."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {"dataset": "twinkle.plugins_builtin.dataset._dataset:Dataset"}


@hookimpl
def twinkle_datasets() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
