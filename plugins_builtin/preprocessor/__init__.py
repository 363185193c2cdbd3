"""Built-in preprocessors."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

_ROOM = "twinkle.plugins_builtin.preprocessor"

COMPONENTS: dict[str, str] = {
    "alpaca": f"{_ROOM}._alpaca:AlpacaProcessor",
    "competition_math": f"{_ROOM}._competition_math:CompetitionMathProcessor",
    "competition_math_grpo": f"{_ROOM}._competition_math_grpo:CompetitionMathGRPOProcessor",
    "countdown": f"{_ROOM}._countdown:CountdownProcessor",
    "emoji_dpo": f"{_ROOM}._emoji_dpo:EmojiDPOProcessor",
    "gsm8k": f"{_ROOM}._gsm8k:GSM8KProcessor",
    "preference": f"{_ROOM}._preference:PreferenceProcessor",
    "self_cognition": f"{_ROOM}._self_cognition:SelfCognitionProcessor",
}


@hookimpl
def twinkle_preprocessors() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
