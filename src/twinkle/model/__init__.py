"""Model backends by class name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.model import COMPONENTS

if TYPE_CHECKING:
    from twinkle.plugins_builtin.model.transformers._transformers_model import TransformersModel as TransformersModel

__getattr__, __dir__, __all__ = lazy_names(__name__, class_names(COMPONENTS))
