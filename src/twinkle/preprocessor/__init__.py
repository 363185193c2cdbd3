"""Preprocessors and filters by class name; ``twinkle.build("preprocessor", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.preprocessor import COMPONENTS

if TYPE_CHECKING:
    from twinkle.plugins_builtin.preprocessor._gsm8k import GSM8KProcessor as GSM8KProcessor
    from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor as Preprocessor
    from twinkle.plugins_builtin.preprocessor._self_cognition import SelfCognitionProcessor as SelfCognitionProcessor

__getattr__, __dir__, __all__ = lazy_names(
    __name__, {"Preprocessor": "twinkle.plugins_builtin.preprocessor._preprocessor:Preprocessor", **class_names(COMPONENTS)}
)
