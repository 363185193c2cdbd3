"""Built-in learning-rate schedulers."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {}


@hookimpl
def twinkle_lr_schedulers() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
