"""``apply_patch`` and ``patched``: a patch by name, hub id, class or instance, applied so that it can be undone."""

from __future__ import annotations

import sys
import types
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from twinkle.core.applicability import Applies, ConditionalPatch, NotNeeded, PatchEnvironment, Refuse
from twinkle.core.components import build_resolved, resolve
from twinkle.core.errors import PatchRefused
from twinkle.core.legacy_patch import LegacyPatchObject, is_legacy_patch, modern_patch
from twinkle.core.patch_journal import AttributePlace
from twinkle.core.patch_ledger import PatchHandle, PatchIdentity
from twinkle.core.refs import HubRef, NameRef, parse
from twinkle.core.resolved import Resolved
from twinkle.core.runtime.context import current


def apply_patch(patch: object, target: Any, /, **arguments: Any) -> PatchHandle:
    """Applies ``patch`` to ``target`` (an unwrapped model, a module) and returns the handle that reverts it.

    A patch that is applied already is counted, not applied again. One that is not needed gives a handle that does nothing and says why.
    ``arguments`` go to its constructor (to ``__call__`` of a patch of the older form).

    Raises:
        LookupError: no patch has this name.
        PatchRefused: the patch is not for these versions.
        PatchConflict: other bytes of the same patch are applied to ``target``, or its manifest or that of an applied one speaks against it.
    """
    instance, identity = _build(patch, arguments)
    ledger = current().patches
    if isinstance(instance, ConditionalPatch):
        match instance.applies(PatchEnvironment(target)):
            case NotNeeded(reason):
                return PatchHandle(identity, target, ledger, reason)
            case Refuse(reason):
                raise PatchRefused(f"patch {identity.ref} refuses: {reason}")
            case Applies():
                pass

    def run(handle: PatchHandle) -> None:
        instance.apply(target, handle.journal)
        handle.limits = tuple(stale_copies(handle))

    return ledger.apply(identity, target, run)


@runtime_checkable
class Patchable(Protocol):
    """A model that knows what of it is to be patched."""

    @abstractmethod
    def apply_patch(self, patch_cls: Any, **kwargs: Any) -> PatchHandle:
        """Applies a patch to the unwrapped model."""


@contextmanager
def patched(model: Any, patch: object, /, **arguments: Any) -> Iterator[PatchHandle]:
    """``with twinkle.patched(model, "name"):`` applies a patch inside the block; ``model`` may also be any module or object."""
    handle = model.apply_patch(patch, **arguments) if isinstance(model, Patchable) else apply_patch(patch, model, **arguments)
    with handle:
        yield handle


def _build(patch: object, arguments: dict[str, Any]) -> tuple[Any, PatchIdentity]:
    if isinstance(patch, type) and is_legacy_patch(patch):
        patch = modern_patch(patch)
    elif not isinstance(patch, str | type | Resolved) and is_legacy_patch(type(patch)):
        named = patch if isinstance(patch, types.FunctionType) else type(patch)
        entry = f"{named.__module__}:{named.__qualname__}"
        return LegacyPatchObject(patch, arguments), PatchIdentity(ref=entry, entry=entry, init=repr(arguments), instance=patch)
    resolved = resolve("patch", patch)
    instance = build_resolved(resolved, arguments)
    given = None if isinstance(patch, str | type | Resolved) else patch
    return instance, PatchIdentity(
        ref=resolved.ref,
        entry=resolved.entry,
        repo=resolved.repo,
        h1=resolved.h1,
        init=repr(sorted(arguments.items())),
        instance=given,
        names=frozenset(_names(resolved)),
        conflicts=frozenset(map(_plain, resolved.conflicts)),
        after=frozenset(map(_plain, resolved.after)),
    )


def _names(resolved: Resolved) -> Iterator[str]:
    """What a manifest may call this patch."""
    yield resolved.name
    if resolved.dist is not None:
        yield f"{resolved.dist}/{resolved.name}"
    if resolved.repo is not None:
        yield resolved.repo
        yield f"{resolved.repo}#{resolved.name}"


def _plain(named: str) -> str:
    """A name without its kind, a hub id without its revision: every revision is meant."""
    match parse(named):
        case HubRef() as ref:
            return f"{ref.scheme}://{ref.repo_id}" + ("" if ref.component is None else f"#{ref.component}")
        case NameRef() as ref:
            return ref.name if ref.package is None else f"{ref.package}/{ref.name}"
        case _:
            return named


def stale_copies(handle: PatchHandle) -> Iterator[str]:
    """Names in loaded modules that hold a function or class which the patch replaced elsewhere: ``from m import f`` made them."""
    replaced = {
        id(change.before): change.place
        for change in handle.journal.changes
        if isinstance(change.before, type | types.FunctionType | types.BuiltinFunctionType)
        and isinstance(change.place, AttributePlace)
        and change.place.name != "__class__"  # an instance's: the class itself stays where it was
    }
    if not replaced:
        return
    loaded: dict[str, object] = {**sys.modules}  # some packages put objects there that are no modules
    for name, module in loaded.items():
        if not isinstance(module, types.ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            place = replaced.get(id(value))
            if place is not None and place.key != (id(module), attribute):
                yield f"{name}.{attribute} still is the {place} from before: it was imported by name"
