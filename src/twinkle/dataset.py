"""Data sets; ``twinkle.build("dataset", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.dataset import COMPONENTS

if TYPE_CHECKING:
    from twinkle.plugins_builtin.dataset._dataset import Dataset as Dataset
    from twinkle.plugins_builtin.dataset._iterable import IterableDataset as IterableDataset
    from twinkle.plugins_builtin.dataset._iterable_packing import IterablePackingDataset as IterablePackingDataset
    from twinkle.plugins_builtin.dataset._lazy import LazyDataset as LazyDataset
    from twinkle.plugins_builtin.dataset._meta import DatasetMeta as DatasetMeta
    from twinkle.plugins_builtin.dataset._packing import PackingDataset as PackingDataset

__getattr__, __dir__, __all__ = lazy_names(
    __name__, {"DatasetMeta": "twinkle.plugins_builtin.dataset._meta:DatasetMeta", **class_names(COMPONENTS)}
)
