"""Built-in executors."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {"local": "twinkle.plugins_builtin.executor._local:LocalExecutor"}


@hookimpl
def twinkle_executors() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
