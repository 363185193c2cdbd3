"""Templates by class name; ``twinkle.build("template", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.template import COMPONENTS

if TYPE_CHECKING:
    from twinkle.plugins_builtin.template._template import Template as Template

__getattr__, __dir__, __all__ = lazy_names(__name__, class_names(COMPONENTS))
