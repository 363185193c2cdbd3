"""What a patch keeps: applied whole or not at all, undone to the very objects, and refused where it does not belong."""

from __future__ import annotations

import sys
import types
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable
from unittest import mock

from twinkle.core.applicability import Applies, ConditionalPatch, PatchEnvironment
from twinkle.core.contracts.patch import Journal
from twinkle.core.errors import PatchConflict
from twinkle.core.patch_journal import AttributePlace, ItemPlace, RecordedJournal
from twinkle.core.patching import apply_patch
from twinkle.testing.check import NotApplicable, check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

_NOISE = frozenset({"__dict__", "__weakref__", "__warningregistry__", "_abc_impl", "__annotations__"})
_AGES = {"older": "0.0.1", "newer": "9999.0"}


@dataclass(frozen=True, kw_only=True)
class PatchExample(Example):
    """For patches."""

    target: Callable[[], Any]
    """Makes what the patch is applied to: a small model, or the module that it changes."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Distribution -> a version that it is for, where it is for some versions only. The checks pretend that these are installed; and that
    others are, which it has to refuse."""


class _Stopped(Exception):
    """What the injected failure raises."""


class _FailingJournal(RecordedJournal):
    """Fails in place of the n-th change."""

    def __init__(self, num_changes: int) -> None:
        super().__init__()
        self.left = num_changes

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _Stopped("the change fails on purpose")

    def setattr(self, owner: object, name: str, value: object) -> None:
        self._count()
        super().setattr(owner, name, value)

    def setitem(self, mapping: Any, key: object, value: object) -> None:
        self._count()
        super().setitem(mapping, key, value)

    def callback(self, undo: Callable[[], None]) -> None:
        super().callback(undo)
        self._count()


@dataclass(frozen=True)
class _OnTop:
    """A second patch: writes a place that the first one wrote."""

    place: AttributePlace | ItemPlace

    def apply(self, target: Any, journal: Journal) -> None:
        if isinstance(self.place, AttributePlace):
            journal.setattr(self.place.owner, self.place.name, object())
        else:
            journal.setitem(self.place.mapping, self.place.name, object())


@runtime_checkable
class _ModuleTree(Protocol):
    """A torch module, as far as it is looked at here."""

    @abstractmethod
    def modules(self) -> Iterable[object]: ...


def _owners(target: Any) -> list[Any]:
    """The target, its submodules, their classes, and the Python modules that define these."""
    parts: list[Any] = list(target.modules()) if isinstance(target, _ModuleTree) and not isinstance(target, type) else [target]
    owners: dict[int, Any] = {}
    for part in parts:
        classes = [c for c in (part if isinstance(part, type) else type(part)).__mro__ if c.__module__ != "builtins"]
        for owner in (part, *classes, *(sys.modules[c.__module__] for c in classes if c.__module__ in sys.modules)):
            owners[id(owner)] = owner
    return list(owners.values())


class _Snapshot:
    """What the owners hold, by identity; dictionaries inside instances one level deep."""

    def __init__(self, target: Any) -> None:
        owners = _owners(target)
        self._spaces = [(owner, self._space(owner)) for owner in owners]
        instances = [space for owner, space in self._spaces if not isinstance(owner, type | types.ModuleType)]
        self._inner = [(value, dict(value)) for space in instances for value in space.values() if isinstance(value, dict)]
        self._classes = [(owner, type(owner)) for owner in owners]

    @staticmethod
    def _space(owner: Any) -> dict[str, Any]:
        try:
            return {name: value for name, value in vars(owner).items() if name not in _NOISE}
        except TypeError:  # an object with __slots__ alone
            return {}

    def differences(self) -> list[str]:
        """Every place that holds another object by now."""
        found = [f"the class of a {cls.__name__}" for owner, cls in self._classes if type(owner) is not cls]
        pairs: list[tuple[str, Mapping[Any, Any], Mapping[Any, Any]]] = [
            (_shown(owner), before, self._space(owner)) for owner, before in self._spaces
        ]
        pairs += [("an inner dictionary", before, live) for live, before in self._inner]
        for shown, before, now in pairs:
            for key in before.keys() | now.keys():
                if key not in before or key not in now or before[key] is not now[key]:
                    found.append(f"{shown}.{key}")
        return sorted(found)


def _shown(owner: Any) -> str:
    return str(owner.__name__) if isinstance(owner, type | types.ModuleType) else f"<{type(owner).__name__}>"


def _target(component: Specimen) -> Any:
    return component.example_of(PatchExample).target()


def _apply(component: Specimen, target: Any) -> Any:
    example = component.example_of(PatchExample)
    with _pretending(example.versions):
        handle = apply_patch(component.component, target, **example.arguments())
    if handle.reason is not None:
        raise NotApplicable(f"it is not needed here: {handle.reason}")
    return handle


@contextmanager
def _pretending(versions: Mapping[str, str]) -> Iterator[None]:
    """Patches are told that ``versions`` are installed."""
    real = PatchEnvironment.version_of

    def version_of(self: PatchEnvironment, distribution: str) -> str | None:
        return versions[distribution] if distribution in versions else real(self, distribution)

    with mock.patch.object(PatchEnvironment, "version_of", version_of):
        yield


@check("patch")
def changes_something(component: Specimen) -> None:
    """Applied to the example's target it changes something: a patch that matches nothing any more must say so instead."""
    target = _target(component)
    snapshot = _Snapshot(target)
    with _apply(component, target):
        expect(snapshot.differences(), "nothing is changed")


@check("patch")
def reverts_to_the_very_objects(component: Specimen) -> None:
    """After the revert every attribute of the target, of its classes and of the modules that define them is the very object of before.

    What it changes past the journal stays: use journal.setattr, setitem and callback for all of it."""
    target = _target(component)
    snapshot = _Snapshot(target)
    _apply(component, target).revert()
    left = snapshot.differences()
    expect(not left, f"after the revert there are other objects in {', '.join(left)}")


@check("patch")
def applies_whole_or_not_at_all(component: Specimen) -> None:
    """An exception at any change undoes those before it: nothing outside the journal may be needed to go back."""
    target = _target(component)
    handle = _apply(component, target)
    num_changes = len(handle.journal.changes)
    handle.revert()
    for num_done in range(num_changes + 1):
        snapshot, journal = _Snapshot(target), _FailingJournal(num_done)
        try:
            component.build().apply(target, journal)
        except _Stopped:
            pass
        else:
            expect(num_done >= num_changes, "it swallows the exception of a change that fails, and goes on half applied")
        journal.undo()
        left = snapshot.differences()
        expect(not left, f"a failure after {num_done} changes leaves {', '.join(left)}")


@check("patch")
def applied_twice_is_applied_once(component: Specimen) -> None:
    """The same patch with the same arguments on the same target is counted, not applied a second time on top of itself.

    Arguments are compared as repr() shows them: give objects that are arguments a repr that says what they are."""
    target = _target(component)
    first = _apply(component, target)
    second = _apply(component, target)
    expect(first is second, "the second application is one of its own, on top of the first")
    second.revert()
    first.revert()


@check("patch")
def reverts_in_the_reverse_order_only(component: Specimen) -> None:
    """Where another patch lies on top the revert is refused, and works after that one is gone.

    A patch that hides its changes (a callback that undoes them) cannot be protected so: write through journal.setattr."""
    target = _target(component)
    handle = _apply(component, target)
    expect(handle.journal.changes, "it writes nothing through journal.setattr or setitem, so nobody can tell who patched on top")
    place = handle.journal.changes[-1].place
    on_top = apply_patch(_OnTop(place), target)
    try:
        handle.revert()
    except PatchConflict:
        pass
    else:
        expect(False, "it was reverted under another patch")
    on_top.revert()
    handle.revert()
    expect(not handle.is_applied, "it cannot be reverted after the other one is gone")


@check("patch")
def refuses_other_versions(component: Specimen) -> None:
    """applies() says Refuse or NotNeeded, with a reason, for older and for newer versions than those that the example names."""
    versions = component.example_of(PatchExample).versions
    if not versions:
        raise NotApplicable("the example names no versions: it is for all of them")
    patch = component.build()
    expect(isinstance(patch, ConditionalPatch), "it has no applies(environment), so it is applied to every version")
    for age, other in _AGES.items():
        for distribution in versions:
            with _pretending({**versions, distribution: other}):
                verdict = patch.applies(PatchEnvironment(_target(component)))
            expect(not isinstance(verdict, Applies), f"it applies to a much {age} {distribution}, {other}")
            expect(verdict.reason, f"its {type(verdict).__name__} gives no reason")


CHECKS = (
    changes_something,
    reverts_to_the_very_objects,
    applies_whole_or_not_at_all,
    applied_twice_is_applied_once,
    reverts_in_the_reverse_order_only,
    refuses_other_versions,
)
