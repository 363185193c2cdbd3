"""Built-in preprocessors."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

_ROOM = "twinkle.plugins_builtin.preprocessor"

COMPONENTS: dict[str, str] = {
    "gsm8k": f"{_ROOM}._gsm8k:GSM8KProcessor",
    "self_cognition": f"{_ROOM}._self_cognition:SelfCognitionProcessor",
}


@hookimpl
def twinkle_preprocessors() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
