"""Built-in model backends."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {"transformers": "twinkle.plugins_builtin.model.transformers._transformers_model:TransformersModel"}


@hookimpl
def twinkle_models() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
