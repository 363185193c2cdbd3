"""Twinkle: a workbench of named parts for training large language models.

Importing this package loads no torch and no plugin; each name below is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import lazy_names

if TYPE_CHECKING:
    from twinkle.core.components import build as build
    from twinkle.core.components import resolve as resolve
    from twinkle.core.hookspecs import hookimpl as hookimpl

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "build": "twinkle.core.components:build",
        "hookimpl": "twinkle.core.hookspecs:hookimpl",
        "resolve": "twinkle.core.components:resolve",
    },
)
