"""``get_device_placement()``: a picture of the run in letters, for logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from twinkle.core.errors import InvalidArgument
from twinkle.core.mesh import DeviceGroup, DeviceMesh
from twinkle.core.rank_spans import rank_spans
from twinkle.core.runtime.context import ProcessContext, current
from twinkle.core.suggestion import did_you_mean

_MAX_DRAWN_RANKS = 64
"""A mesh of more ranks is named and not drawn."""


def get_device_placement(device_group: str | None = None) -> str:
    """The groups with their devices, the meshes with their ranks, and which class lives where; of ``device_group`` alone where it is named.

    Raises:
        InvalidArgument: there is no such group.
    """
    context = current()
    known = [group.name for group in context.groups]
    if device_group is not None and device_group not in known:
        raise InvalidArgument(f"no group is named {device_group!r}.{did_you_mean(device_group, known)}")
    boxes = [_group_box(context, group) for group in context.groups if device_group in (None, group.name)]
    if device_group is None:
        boxes = [_run_box(context), *boxes, *_process_box(context)]
    width = max(len(line) for box in boxes for line in box)
    rule = f"+{'-' * (width + 2)}+"
    lines = [rule]
    for box in boxes:
        lines += [f"| {line:<{width}} |" for line in box]
        lines.append(rule)
    return "\n".join(lines)


def _run_box(context: ProcessContext) -> list[str]:
    settings = context.settings
    first = f"{context.mode}: rank {max(settings.rank, 0)} of {settings.world_size}, {context.device.name}"
    return [first, *_mesh_lines(context, context.mesh)]


def _group_box(context: ProcessContext, group: DeviceGroup) -> list[str]:
    ranks = range(group.ranks) if isinstance(group.ranks, int) else group.ranks
    workers = f", {group.gpus_per_worker} to a worker" if group.gpus_per_worker > 1 else ""
    return [f"group {group.name!r}: {group.device.name} {rank_spans(ranks)}{workers}", *_component_lines(context, group.name)]


def _process_box(context: ProcessContext) -> Iterator[list[str]]:
    """Components that were given no group, or one that nobody has described."""
    known = {group.name for group in context.groups}
    for name in dict.fromkeys(group for _, group, _ in context.placed if group not in known):
        yield ["this process" if name is None else f"group {name!r}", *_component_lines(context, name)]


def _component_lines(context: ProcessContext, group: str | None) -> Iterator[str]:
    classes: dict[DeviceMesh | None, list[str]] = {}
    for (class_name, placed_in, mesh), count in context.placed.items():
        if placed_in == group:
            own_mesh = None if mesh == context.mesh else mesh
            classes.setdefault(own_mesh, []).append(class_name if count == 1 else f"{class_name} x {count}")
    for mesh, names in classes.items():
        yield "  " + ", ".join(names)
        for line in _mesh_lines(context, mesh):
            yield "  " + line


def _mesh_lines(context: ProcessContext, mesh: DeviceMesh | None) -> list[str]:
    """The sum, then the ranks in a table: the last dim runs to the right, the others downwards."""
    if mesh is None:
        return []
    if context.mode == "local" and mesh.world_size > context.settings.world_size:
        return [f"  mesh {mesh}, here on one rank"]
    lines = [f"  mesh {mesh}"]
    if mesh.world_size == 1 or mesh.world_size > _MAX_DRAWN_RANKS:
        return lines
    *down, across = mesh.mesh_dim_names
    rows = [["", *(f"{across} {i}" for i in range(mesh.mesh.shape[-1]))]]
    for index in np.ndindex(mesh.mesh.shape[:-1]):
        label = " ".join(f"{dim} {i}" for dim, i in zip(down, index, strict=True))
        rows.append([label, *(str(rank) for rank in mesh.mesh[index])])
    return lines + [f"    {line}" for line in _table(rows)]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
