"""Batch processors by class name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.processor import COMPONENTS

if TYPE_CHECKING:
    from twinkle.core.contracts.processor import Processor as Processor
    from twinkle.plugins_builtin.processor._input_processor import InputProcessor as InputProcessor

__getattr__, __dir__, __all__ = lazy_names(__name__, {"Processor": "twinkle.core.contracts.processor:Processor", **class_names(COMPONENTS)})
