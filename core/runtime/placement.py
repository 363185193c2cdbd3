"""What user code says about where a component lives and how its methods are called: plain descriptions, which an executor carries out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import BoundArguments
from typing import TYPE_CHECKING, Any, Literal, get_args

from twinkle.core.settings import Settings

if TYPE_CHECKING:
    from twinkle.core.mesh import DeviceGroup, DeviceMesh

Execute = Literal["all", "first", "peer"]
"""Which workers: all of them, the first, or the one whose index is the caller's rank."""
DispatchRule = Literal["all", "slice", "slice_dp"]
CollectRule = Literal["none", "flatten", "mean", "sum", "first", "last_pp", "last_pp_first"]
Dispatch = DispatchRule | Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]
"""What each worker gets: see :func:`twinkle.core.runtime.dispatch.dispatch`."""
Collect = CollectRule | Callable[..., Any]
"""What the caller gets: see :func:`twinkle.core.runtime.dispatch.collect`."""

EXECUTE_RULES: tuple[str, ...] = get_args(Execute)
DISPATCH_RULES: tuple[str, ...] = get_args(DispatchRule)
COLLECT_RULES: tuple[str, ...] = get_args(CollectRule)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteClass:
    """What ``remote_class`` says of a class."""

    execute: Execute = "all"
    """The workers that hold an instance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteMethod:
    """What ``remote_function`` says of a method."""

    dispatch: Dispatch = "slice"
    execute: Execute = "all"
    collect: Collect = "none"
    sync: bool = False
    """Return only when every worker has finished, as methods with collective operations need."""
    lazy_collect: bool | None = None
    """Return a handle at once instead of the result; None is what ``initialize(lazy_collect=...)`` says."""
    timeout: float | None = None
    """Seconds until a call that has not returned is an error; None waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The processes and devices of a run, as an executor sees them."""

    settings: Settings
    groups: tuple[DeviceGroup, ...] = ()
    mesh: DeviceMesh | None = None
    """The mesh of components that name none."""
    nproc_per_node: int = 8
    """Accelerators of a machine."""
    ncpu_proc_per_node: int = 8
    """CPU workers of a machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """One component that is asked for: its class, its arguments, and where it shall live."""

    cls: type[Any]
    arguments: BoundArguments
    """Those of its constructor, without the mesh."""
    description: RemoteClass
    group: str | None = None
    """The device group; None is the process that asks."""
    instance_id: str | None = None
    """A name that tells two components of one class apart; None is one of their own."""
    mesh: DeviceMesh | None = None
    """How it is laid out in its group."""
    mesh_parameter: str | None = None
    """The constructor's parameter that takes ``mesh``; None where it has none."""

    def build(self) -> Any:
        """The component itself, in this process."""
        if self.mesh_parameter is not None:
            self.arguments.arguments[self.mesh_parameter] = self.mesh
        return type.__call__(self.cls, *self.arguments.args, **self.arguments.kwargs)
