"""Built-in metrics."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {}


@hookimpl
def twinkle_metrics() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
