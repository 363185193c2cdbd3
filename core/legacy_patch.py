"""Patches of the older form, which have only ``__call__(module, **arguments)`` and set attributes themselves.

They run inside a snapshot guard: what the guarded objects held is noted before, compared after, and the differences become the journal.
Guarded are the target, its submodules, their classes and the Python modules that define these, and the dictionaries directly in them.
"""

from __future__ import annotations

import sys
import types
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from twinkle.core.contracts.patch import Journal, Patch
from twinkle.core.patch_journal import ABSENT, AttributePlace, ItemPlace, RecordedJournal

_NOISE = frozenset(
    {"__warningregistry__", "__builtins__", "_abc_impl", "__abstractmethods__", "__dict__", "__weakref__", "__annotations__"}
)


@runtime_checkable
class _ModuleTree(Protocol):
    """A torch module, as far as the guard needs it."""

    @abstractmethod
    def modules(self) -> Iterable[object]: ...


def is_legacy_patch(cls: type) -> bool:
    """Whether ``cls`` has no ``apply`` of its own but can be called."""
    apply = next((vars(base)["apply"] for base in cls.__mro__ if "apply" in vars(base)), None)
    has_call = any("__call__" in vars(base) for base in cls.__mro__)
    return apply in (None, vars(Patch)["apply"]) and has_call


def modern_patch(cls: type) -> type:
    """``cls`` as a patch with ``apply``: keyword arguments go to its ``__call__``, as the older form has it."""

    class LegacyPatch(cls):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self, **arguments: Any) -> None:
            super().__init__()
            self._call_arguments = arguments

        def apply(self, target: Any, journal: Journal) -> None:
            """Calls the older form inside a snapshot guard."""
            assert isinstance(journal, RecordedJournal)
            with guarded(target, journal):
                self(target, **self._call_arguments)

    LegacyPatch.__name__, LegacyPatch.__qualname__, LegacyPatch.__module__ = cls.__name__, cls.__qualname__, cls.__module__
    return LegacyPatch


class LegacyPatchObject:
    """An instance of the older form, as a patch with ``apply``."""

    def __init__(self, call: Any, arguments: dict[str, Any]) -> None:
        self.call = call
        self.arguments = arguments

    def apply(self, target: Any, journal: Journal) -> None:
        """Calls the older form inside a snapshot guard."""
        assert isinstance(journal, RecordedJournal)
        with guarded(target, journal):
            self.call(target, **self.arguments)


@contextmanager
def guarded(target: Any, journal: RecordedJournal) -> Iterator[None]:
    """Notes every change inside the block to ``target`` and what is guarded with it in ``journal``, also where the block raises."""
    owners = list(_guarded_owners(target))
    spaces = [(owner, dict(vars(owner))) for owner in owners]
    classes = [(owner, type(owner)) for owner in owners if not isinstance(owner, type | types.ModuleType)]
    items = [(value, dict(value)) for owner, space in spaces for value in _inner_dictionaries(owner, space)]
    try:
        yield
    finally:
        for owner, cls in classes:
            if type(owner) is not cls:
                journal.adopt(AttributePlace(owner, "__class__"), cls)
        for mapping, before in items:
            for key in _changed(before, mapping):
                journal.adopt(ItemPlace(mapping, key), before.get(key, ABSENT))
        for owner, space in spaces:
            for name in _changed(space, vars(owner)):
                if name not in _NOISE:
                    journal.adopt(AttributePlace(owner, name), space.get(name, ABSENT))


def _guarded_owners(target: Any) -> Iterator[Any]:
    parts: list[object] = list(target.modules()) if isinstance(target, _ModuleTree) and not isinstance(target, type) else [target]
    seen: set[int] = set()
    for part in parts:
        bases = [base for base in type(part).__mro__ if base is not object] if not isinstance(part, types.ModuleType) else []
        if isinstance(part, type):
            bases = [base for base in part.__mro__ if base is not object]
        homes = [sys.modules[base.__module__] for base in bases if base.__module__ in sys.modules and base.__module__ != "builtins"]
        for owner in (part, *bases, *homes):
            if id(owner) not in seen and _has_namespace(owner):
                seen.add(id(owner))
                yield owner


def _has_namespace(owner: object) -> bool:
    try:
        vars(owner)
    except TypeError:
        return False
    return True


def _inner_dictionaries(owner: object, space: dict[str, Any]) -> Iterator[dict[Any, Any]]:
    """The dictionaries in an instance, such as the parameters and hooks of a torch module; those of Python modules are too many."""
    if not isinstance(owner, type | types.ModuleType):
        yield from (value for value in space.values() if isinstance(value, dict))


def _changed(before: dict[Any, Any], after: Any) -> list[Any]:
    return [key for key in [*before, *(k for k in after if k not in before)] if before.get(key, ABSENT) is not after.get(key, ABSENT)]
