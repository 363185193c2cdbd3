"""Built-in batch processors."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {"input": "twinkle.plugins_builtin.processor._input_processor:InputProcessor"}


@hookimpl
def twinkle_processors() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
