"""Data loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.dataloader import COMPONENTS

if TYPE_CHECKING:
    from twinkle.plugins_builtin.dataloader._dataloader import DataLoader as DataLoader

__getattr__, __dir__, __all__ = lazy_names(__name__, class_names(COMPONENTS))
