"""What one process knows of its run: registry, settings, executor, mesh, groups, device, seed. One ContextVar holds it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinkle.core.registry import Registry
from twinkle.core.settings import Settings

if TYPE_CHECKING:
    from twinkle.core.contracts.executor import Executor
    from twinkle.core.mesh import DeviceGroup, DeviceMesh


@dataclass(kw_only=True)
class ProcessContext:
    """The state of this process. ``initialize()`` fills what a plain process leaves at its default."""

    settings: Settings
    registry: Registry
    mode: str = "local"
    executor: Executor | None = None
    mesh: DeviceMesh | None = None
    groups: tuple[DeviceGroup, ...] = ()
    seed: int = 42
    full_determinism: bool = False
    lazy_collect: bool = True
    initialized_with: dict[str, object] | None = None
    """The arguments of ``initialize()``, to tell a repeated call from a contradicting one; None before it."""

    @classmethod
    def fresh(cls, settings: Settings | None = None) -> ProcessContext:
        """A context that knows only ``settings`` (those of the environment without), with a registry of its own."""
        settings = Settings.load() if settings is None else settings
        return cls(
            settings=settings,
            registry=Registry(settings),
            mode=settings.mode,
            seed=settings.seed,
            full_determinism=settings.full_determinism,
        )


class _Slot:
    """Where a context lives. All threads of a process share the default slot, which a bare ContextVar would not give them."""

    def __init__(self, context: ProcessContext | None = None) -> None:
        self._context = context
        self._lock = threading.Lock()

    def get(self) -> ProcessContext:
        if self._context is None:
            with self._lock:
                if self._context is None:
                    self._context = ProcessContext.fresh()
        return self._context


_SLOT: ContextVar[_Slot] = ContextVar("twinkle_process_context", default=_Slot())  # noqa: B039  # one process, one slot: that is meant


def current() -> ProcessContext:
    """The context of this process, made from the environment on first use."""
    return _SLOT.get().get()


@contextmanager
def use_context(context: ProcessContext) -> Iterator[ProcessContext]:
    """``context`` in place of the process's own inside the block, for this thread and what it awaits; tests start from a fresh one so."""
    token = _SLOT.set(_Slot(context))
    try:
        yield context
    finally:
        _SLOT.reset(token)
