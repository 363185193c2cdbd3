"""The executor of one process, or of each rank of torchrun: components live in the process that constructs them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twinkle.core.device import choose_device
from twinkle.core.errors import InvalidArgument, InvalidConfig
from twinkle.core.logger import get_logger
from twinkle.core.mesh import DeviceGroup, DeviceMesh, assign_ranks
from twinkle.core.runtime.placement import Layout, Placement
from twinkle.core.suggestion import did_you_mean


class LocalExecutor:
    """Builds every component in this process and calls its methods directly; the ranks of groups are labels."""

    def __init__(self) -> None:
        self._told: set[DeviceMesh] = set()

    def start(self, layout: Layout) -> Layout:
        """Without a mesh the ranks of the world are ``dp``; without groups one of all ranks is called "default".

        Raises:
            InvalidConfig: the mesh has not as many ranks as there are processes.
        """
        world_size = layout.settings.world_size
        mesh = _world_mesh(layout)
        if mesh.world_size != world_size:
            raise InvalidConfig(f"{_misfit(mesh, layout)}: start {mesh.world_size} of them with torchrun, or give a mesh of {world_size}")
        groups = layout.groups or assign_ranks([DeviceGroup("default", world_size, choose_device(layout.settings).name)])
        return replace(layout, groups=groups, mesh=mesh)

    def construct(self, placement: Placement, layout: Layout) -> Any:
        """The component itself. In a process without a launcher, a mesh of more ranks shrinks to one, and that is said once.

        Raises:
            InvalidArgument: no such group.
            InvalidConfig: the mesh has not as many ranks as the launcher started.
        """
        known = [group.name for group in layout.groups]
        if known and placement.group is not None and placement.group not in known:
            raise InvalidArgument(f"remote_group={placement.group!r}: there is no such group.{did_you_mean(placement.group, known)}")
        mesh = _world_mesh(layout) if placement.mesh is None else placement.mesh
        if mesh.world_size != layout.settings.world_size:
            mesh = self._alone(mesh, placement, layout)
        return replace(placement, mesh=mesh).build()

    def _alone(self, mesh: DeviceMesh, placement: Placement, layout: Layout) -> DeviceMesh:
        what = placement.cls.__name__
        if layout.settings.rank >= 0:
            raise InvalidConfig(f"{what}: {_misfit(mesh, layout)}: give one of {layout.settings.world_size}, or none for that of the run")
        if mesh not in self._told:
            self._told.add(mesh)
            get_logger().warning(
                "%s and others of its mesh run on one rank: %s. Start %d processes with torchrun for the whole mesh.",
                what, _misfit(mesh, layout), mesh.world_size,
            )  # fmt: skip
        return mesh.single()


def _world_mesh(layout: Layout) -> DeviceMesh:
    return DeviceMesh.from_sizes(dp_size=layout.settings.world_size) if layout.mesh is None else layout.mesh


def _misfit(mesh: DeviceMesh, layout: Layout) -> str:
    world_size = layout.settings.world_size
    return f"the mesh has {mesh} ranks, but this run has {world_size} process{'' if world_size == 1 else 'es'} (WORLD_SIZE)"
