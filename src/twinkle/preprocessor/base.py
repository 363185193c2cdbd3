"""The base classes of preprocessors, under the name that user code knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import lazy_names

if TYPE_CHECKING:
    from twinkle.plugins_builtin.filter._filter import DataFilter as DataFilter
    from twinkle.plugins_builtin.filter._filter import Filter as Filter
    from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor as Preprocessor

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "DataFilter": "twinkle.plugins_builtin.filter._filter:DataFilter",
        "Filter": "twinkle.plugins_builtin.filter._filter:Filter",
        "Preprocessor": "twinkle.plugins_builtin.preprocessor._preprocessor:Preprocessor",
    },
)
