"""Facades: small modules that forward names to import strings, imported on first use; and the block that tells type checkers the same."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.suggestion import did_you_mean


def class_names(components: Mapping[str, str]) -> dict[str, str]:
    """Class name -> import string, of a mapping that a plugin announces."""
    return {target.rpartition(":")[2]: target for target in components.values()}


@dataclass(frozen=True, slots=True)
class Facade:
    """What one module forwards: attribute -> ``"module:attribute"``, or ``"module"`` for a module."""

    module: str
    names: Mapping[str, str]

    def forward(self, name: str) -> Any:
        """The module's ``__getattr__``: imports what stands behind ``name`` and keeps it in the module."""
        target = self.names.get(name)
        if target is None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(f"module {self.module!r} has no {name!r}.{did_you_mean(name, self.names)}")
        module_name, _, attribute = target.partition(":")
        loaded = importlib.import_module(module_name)
        value = getattr(loaded, attribute) if attribute else loaded
        setattr(sys.modules[self.module], name, value)  # the second access is a plain attribute
        return value

    def listing(self) -> list[str]:
        """The module's ``__dir__``."""
        return sorted(self.names)


def lazy_names(module: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], Iterable[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a facade that forwards ``names`` (attribute -> ``"module:attribute"``)."""
    facade = Facade(module, names)
    return facade.forward, facade.listing, facade.listing()
