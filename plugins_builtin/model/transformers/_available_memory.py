"""How much memory there is left for activations."""

from __future__ import annotations

from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes(device: torch.device) -> int | None:
    """Bytes that can still be allocated on ``device``; None where nobody tells (devices other than CPU and CUDA, systems without /proc)."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu" or not _MEMINFO.is_file():
        return None
    of_machine = _kilobytes(_MEMINFO, "MemAvailable:") * 1024
    of_container = _container_bytes()
    return of_machine if of_container is None else min(of_machine, of_container)


def _container_bytes() -> int | None:
    """What the limit of a container (control groups, version 2) leaves; file cache is given back when it is needed."""
    limit_file = _CGROUP / "memory.max"
    limit = limit_file.read_text().strip() if limit_file.is_file() else "max"
    if limit == "max":
        return None
    used = int((_CGROUP / "memory.current").read_text())
    return int(limit) - used + _kilobytes(_CGROUP / "memory.stat", "inactive_file")


def _kilobytes(file: Path, name: str) -> int:
    """The number after ``name`` in a file of one name and number a line, in whatever unit the file has."""
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.split()[0] == name)
