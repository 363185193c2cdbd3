"""The patches of a process that are applied, in order: for one that comes twice, for conflicts, and to name who patched on top."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from twinkle.core.errors import PatchConflict
from twinkle.core.patch_journal import Change, RecordedJournal


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchIdentity:
    """What makes two patches the same one."""

    ref: str
    entry: str
    repo: str | None = None
    h1: str | None = None
    init: str = ""
    """The arguments, as text."""
    instance: object = None
    """The object itself, where the user gave one."""
    names: frozenset[str] = frozenset()
    """What the manifests of other patches may call it."""
    conflicts: frozenset[str] = frozenset()
    """Names of patches that must not be applied beside it, on whatever target: patches change shared classes and modules."""
    after: frozenset[str] = frozenset()
    """Names of patches that come before it on the same target."""

    def is_same(self, other: PatchIdentity) -> bool:
        """The same code with the same arguments."""
        return (self.entry, self.repo, self.h1, self.init) == (other.entry, other.repo, other.h1, other.init) and (
            self.instance is other.instance or self.instance == other.instance
        )

    def is_other_version(self, other: PatchIdentity) -> bool:
        """Other bytes of the same component."""
        return (self.entry, self.repo) == (other.entry, other.repo) and self.repo is not None and self.h1 != other.h1


class PatchHandle:
    """An applied patch: revert it, or use it as a context manager."""

    def __init__(self, identity: PatchIdentity, target: Any, ledger: PatchLedger, reason: str | None = None) -> None:
        self.identity = identity
        self.target = target
        self.reason = reason
        """Why nothing was changed; None where the patch was applied."""
        self.limits: tuple[str, ...] = ()
        """What a revert cannot take back, as far as it is known."""
        self.journal = RecordedJournal()
        self.num_uses = 0
        self._ledger = ledger
        self._listeners: list[Callable[[], None]] = []

    def after_revert(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` once, when the changes are undone: for who keeps what it saw of the target."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def tell_listeners(self) -> None:
        """The changes are undone."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    @property
    def is_applied(self) -> bool:
        """Whether its changes are in place."""
        return self.num_uses > 0

    def revert(self) -> None:
        """Puts back the very objects that were there; a patch that was applied n times goes with the n-th revert.

        Raises:
            PatchConflict: something it changed was changed again since; nothing is reverted then.
        """
        self._ledger.revert(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.revert()

    def __repr__(self) -> str:
        state = f"not needed: {self.reason}" if self.reason is not None else "applied" if self.is_applied else "reverted"
        return f"<patch {self.identity.ref}: {state}>"


Handle = TypeVar("Handle", bound=PatchHandle)


class PatchLedger:
    """The applied patches of a process, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._handles: list[PatchHandle] = []

    @property
    def applied(self) -> tuple[PatchHandle, ...]:
        """The handles, oldest first."""
        return tuple(self._handles)

    def apply(self, identity: PatchIdentity, target: Any, run: Callable[[PatchHandle], None]) -> PatchHandle:
        """Runs a patch that writes to ``handle.journal``; an exception undoes what it had done. A patch that is there is counted.

        Raises:
            PatchConflict: another version of it is applied to ``target``; it or an applied patch names the other one as a conflict; or one
                that is applied to ``target`` has to come after it.
        """
        return self.apply_as(PatchHandle, identity, target, run)

    def apply_as(self, handle_type: type[Handle], identity: PatchIdentity, target: Any, run: Callable[[Handle], None]) -> Handle:
        """:meth:`apply` for what keeps more in its handle than a patch does."""
        with self._lock:
            for applied in self._handles:
                if applied.target is target and applied.identity.is_same(identity):
                    assert isinstance(applied, handle_type)
                    applied.num_uses += 1
                    return applied
                if applied.target is target and applied.identity.is_other_version(identity):
                    raise PatchConflict(
                        f"{identity.ref} ({identity.h1}) cannot be applied: {applied.identity.ref} with other bytes "
                        f"({applied.identity.h1}) already is; revert it first"
                    )
            for applied in self._handles:
                self._check_beside(identity, target, applied)
            handle = handle_type(identity, target, self)
            try:
                run(handle)
            except BaseException:
                handle.journal.undo()
                raise
            handle.num_uses = 1
            self._handles.append(handle)
            return handle

    def revert(self, handle: PatchHandle) -> None:
        """Counts down, and at zero undoes the changes of ``handle``, if they all are as it left them."""
        with self._lock:
            if not handle.is_applied:
                return
            if handle.num_uses == 1:
                culprits = [self._culprit(handle, change) for change in handle.journal.overwritten()]
                if culprits:
                    raise PatchConflict(f"{handle.identity.ref} cannot be reverted: {'; '.join(dict.fromkeys(culprits))}")
                self._handles.remove(handle)
                handle.num_uses = 0
                try:
                    handle.journal.undo()
                finally:
                    handle.tell_listeners()
                return
            handle.num_uses -= 1

    def _check_beside(self, identity: PatchIdentity, target: Any, applied: PatchHandle) -> None:
        other = applied.identity
        for one, two in ((identity, other), (other, identity)):
            if one.conflicts & two.names:
                raise PatchConflict(
                    f"{identity.ref} cannot be applied: {one.ref} says that it conflicts with {two.ref}, and {other.ref} is applied: "
                    "revert it first"
                )
        if applied.target is target and other.after & identity.names:
            raise PatchConflict(
                f"{identity.ref} cannot be applied: {other.ref} is applied and says that it comes after {identity.ref}: "
                f"revert {other.ref}, then apply {identity.ref} and {other.ref} in this order"
            )

    def _culprit(self, handle: PatchHandle, change: Change) -> str:
        later = self._handles[self._handles.index(handle) + 1 :]
        for other in reversed(later):
            if any(c.place.key == change.place.key for c in other.journal.changes):
                return f"{other.identity.ref} patched {change.place} on top: revert it first"
        return f"{change.place} was changed behind its back and is now {change.place.read()!r}"
