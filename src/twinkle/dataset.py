"""Data sets; ``twinkle.build("dataset", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.dataset import COMPONENTS

if TYPE_CHECKING:
    from twinkle.plugins_builtin.dataset._dataset import Dataset as Dataset
    from twinkle.plugins_builtin.dataset._meta import DatasetMeta as DatasetMeta

__getattr__, __dir__, __all__ = lazy_names(
    __name__, {"DatasetMeta": "twinkle.plugins_builtin.dataset._meta:DatasetMeta", **class_names(COMPONENTS)}
)
