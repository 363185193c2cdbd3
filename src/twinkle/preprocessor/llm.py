"""The preprocessors of language tasks, under the name that user code knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.preprocessor import COMPONENTS

if TYPE_CHECKING:
    from twinkle.plugins_builtin.preprocessor._alpaca import AlpacaProcessor as AlpacaProcessor
    from twinkle.plugins_builtin.preprocessor._competition_math import CompetitionMathProcessor as CompetitionMathProcessor
    from twinkle.plugins_builtin.preprocessor._competition_math_grpo import CompetitionMathGRPOProcessor as CompetitionMathGRPOProcessor
    from twinkle.plugins_builtin.preprocessor._countdown import CountdownProcessor as CountdownProcessor
    from twinkle.plugins_builtin.preprocessor._emoji_dpo import EmojiDPOProcessor as EmojiDPOProcessor
    from twinkle.plugins_builtin.preprocessor._gsm8k import GSM8KProcessor as GSM8KProcessor
    from twinkle.plugins_builtin.preprocessor._preference import PreferenceProcessor as PreferenceProcessor
    from twinkle.plugins_builtin.preprocessor._self_cognition import SelfCognitionProcessor as SelfCognitionProcessor

__getattr__, __dir__, __all__ = lazy_names(__name__, class_names(COMPONENTS))
