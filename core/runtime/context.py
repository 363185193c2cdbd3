"""What one process knows of its run: registry, settings, executor, mesh, groups, device, seed. One ContextVar holds it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twinkle.core.device import Device, choose_device
from twinkle.core.patch_ledger import PatchLedger
from twinkle.core.registry import Registry
from twinkle.core.runtime.placement import Layout, Placement
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
    nproc_per_node: int = 8
    ncpu_proc_per_node: int = 8
    placed: dict[tuple[str, str | None, DeviceMesh | None], int] = field(default_factory=dict)
    """How many components were constructed, by class name, group and mesh: what ``get_device_placement()`` draws."""
    initialized_with: dict[str, object] | None = None
    """The arguments of ``initialize()``, to tell a repeated call from a contradicting one; None before it."""
    run: str | None = None
    """The output folder of the run that goes on, see :func:`twinkle.core.runtime.run.run`."""
    patches: PatchLedger = field(default_factory=PatchLedger)
    """The patches that are applied in this process."""

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

    @property
    def device(self) -> Device:
        """The device that components of this process use: the one that the settings name, else the best that is there."""
        return choose_device(self.settings)

    def layout(self) -> Layout:
        """What executors are told of this run."""
        return Layout(
            settings=self.settings,
            groups=self.groups,
            mesh=self.mesh,
            nproc_per_node=self.nproc_per_node,
            ncpu_proc_per_node=self.ncpu_proc_per_node,
        )

    def record(self, placement: Placement) -> None:
        """Counts a component that was constructed."""
        key = (placement.cls.__name__, placement.group, placement.mesh)
        self.placed[key] = self.placed.get(key, 0) + 1

    def running_executor(self) -> Executor:
        """The executor that ``initialize()`` started; without it, that of the settings' mode, which has nothing to start."""
        if self.executor is None:
            self.executor = self.registry.resolve("executor", self.mode).cls()
        return self.executor


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
