"""Import strings: ``"module:Attribute"``, the form in which plugins announce components and kinds name their contracts."""

from __future__ import annotations

import importlib
import re
from typing import Any

from twinkle.core.errors import BrokenComponent

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_IMPORT_STRING = re.compile(f"{_DOTTED}:{_DOTTED}")


def is_import_string(text: str) -> bool:
    """Whether ``text`` reads as ``module.path:Attribute.path``. Imports nothing."""
    return _IMPORT_STRING.fullmatch(text) is not None


def import_attribute(entry: str, what: str) -> Any:
    """The object behind the import string ``entry``.

    Raises:
        BrokenComponent: it cannot be imported; the message begins with ``what``, and the cause is chained.
    """
    module, _, attribute = entry.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for name in attribute.split("."):
            target = getattr(target, name)
    except Exception as error:
        raise BrokenComponent(f"{what} could not be imported from {entry}: {type(error).__name__}: {error}") from error
    return target
