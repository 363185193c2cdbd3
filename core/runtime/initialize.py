"""``initialize()``: what a script says once about its run."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence

import numpy as np

from twinkle.core.components import build
from twinkle.core.errors import InvalidConfig
from twinkle.core.mesh import DeviceGroup, DeviceMesh, assign_ranks
from twinkle.core.runtime.context import current
from twinkle.core.runtime.placement import Layout
from twinkle.core.settings import reserve_cublas_workspace


def initialize(
    mode: str | None = None,
    nproc_per_node: int = 8,
    ncpu_proc_per_node: int = 8,
    seed: int | None = None,
    full_determinism: bool | None = None,
    groups: Sequence[DeviceGroup] | None = None,
    global_device_mesh: DeviceMesh | None = None,
    lazy_collect: bool = True,
) -> None:
    """Starts the executor that ``mode`` names and seeds Python, numpy and torch. A script that needs none of it need not call it.

    Args:
        mode: "local" (this process, or each rank of torchrun) or another executor's name; None is ``TWINKLE_MODE``, else "local".
        nproc_per_node: accelerators of a machine, where the executor starts workers.
        ncpu_proc_per_node: CPU workers of a machine, likewise.
        seed: of every random generator; None is ``TWINKLE_SEED``, else 42.
        full_determinism: refuse operations that may differ from run to run; None is ``TWINKLE_FULL_DETERMINISM``, else False.
        groups: the devices, by name.
        global_device_mesh: the mesh of components that are given none; None is ``dp`` over all ranks in local mode.
        lazy_collect: whether remote calls return handles instead of results, where the method does not say.

    Raises:
        InvalidConfig: it was called before with other arguments; the groups or the mesh do not fit.
        LookupError: no executor is named ``mode``.
    """
    context = current()
    mode = context.settings.mode if mode is None else mode
    seed = context.settings.seed if seed is None else seed
    full_determinism = context.settings.full_determinism if full_determinism is None else full_determinism
    arguments: dict[str, object] = {
        "mode": mode,
        "nproc_per_node": nproc_per_node,
        "ncpu_proc_per_node": ncpu_proc_per_node,
        "seed": seed,
        "full_determinism": full_determinism,
        "groups": tuple(groups or ()),
        "global_device_mesh": global_device_mesh,
        "lazy_collect": lazy_collect,
    }
    if context.initialized_with is not None:
        _check_repeated(context.initialized_with, arguments)
        return
    wanted = Layout(
        settings=context.settings,
        groups=assign_ranks(groups or ()),
        mesh=global_device_mesh,
        nproc_per_node=nproc_per_node,
        ncpu_proc_per_node=ncpu_proc_per_node,
    )
    executor = build("executor", mode)
    layout = executor.start(wanted)
    seed_everything(seed, full_determinism)
    context.mode, context.executor = mode, executor
    context.seed, context.full_determinism = seed, full_determinism
    context.groups, context.mesh, context.lazy_collect = layout.groups, layout.mesh, lazy_collect
    context.nproc_per_node, context.ncpu_proc_per_node = layout.nproc_per_node, layout.ncpu_proc_per_node
    context.initialized_with = arguments


def seed_everything(seed: int, full_determinism: bool) -> None:
    """Seeds Python, numpy and, where it is installed, torch on every device.

    With ``full_determinism`` torch refuses operations whose result may differ from run to run, and chooses no algorithm by timing.
    """
    random.seed(seed)
    np.random.seed(seed)
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    torch.manual_seed(seed)
    if full_determinism:
        reserve_cublas_workspace()
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def _check_repeated(before: dict[str, object], now: dict[str, object]) -> None:
    changed = [f"{name}={before[name]!r} then, {now[name]!r} now" for name in now if before[name] != now[name]]
    if changed:
        raise InvalidConfig(f"initialize() was called before with other arguments ({'; '.join(changed)}): a process has one run")
