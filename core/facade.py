"""Lazy module attributes for the facades: names to import strings, imported on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twinkle.core.suggestion import did_you_mean


def class_names(components: Mapping[str, str]) -> dict[str, str]:
    """Class name -> import string, of a mapping that a plugin announces."""
    return {target.rpartition(":")[2]: target for target in components.values()}


def lazy_names(module: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], Iterable[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a facade that forwards ``names`` (attribute -> ``"module:attribute"``)."""

    def __getattr__(name: str) -> Any:
        target = names.get(name)
        if target is None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(f"module {module!r} has no {name!r}.{did_you_mean(name, names)}")
        module_name, _, attribute = target.partition(":")
        loaded = importlib.import_module(module_name)
        value = getattr(loaded, attribute) if attribute else loaded
        setattr(sys.modules[module], name, value)  # the second access is a plain attribute
        return value

    public = sorted(names)
    return __getattr__, lambda: public, public
