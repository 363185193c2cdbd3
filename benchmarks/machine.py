"""Where a benchmark runs: the machine, the commit, and the core that a run is pinned to."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import distributions, version
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOOK_S = 0.5


def describe_machine() -> dict[str, str]:
    """What somebody who compares two results wants to know: the machine, how busy it is, and the versions of both sides."""
    import torch  # here, so that a list of names does not wait for it

    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in cpu.splitlines())}
    gpu = {"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return gpu | {
        "CPU": fields.get("model name", platform.machine()),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "AMX": "yes" if "amx_tile" in fields.get("flags", "") else "no",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        **_peer_versions(),
    }


def _peer_versions() -> dict[str, str]:
    """Of the packages that ``make bench-peers`` installed: each lies in a folder of its name."""
    folders = sorted(path for path in Path(sys.prefix, "peers").glob("*") if path.is_dir())
    return {folder.name: found.version for folder in folders for found in distributions(name=folder.name, path=[str(folder)])}


def commit(root: Path = ROOT) -> str:
    """The short hash, with ``+`` where files that git knows were changed since; ``unknown`` where git cannot tell, as in an archive."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"


def quietest_core() -> int:
    """The core that was idle for longest during the last half second, of those that this process may use."""
    allowed = os.sched_getaffinity(0)
    before = _idle_ticks()
    time.sleep(LOOK_S)
    after = _idle_ticks()
    # A container may show fewer cores than there are, or number them anew: what it does not show counts as busy.
    return max(sorted(allowed), key=lambda core: after.get(core, 0) - before.get(core, 0))


def _idle_ticks() -> dict[int, int]:
    """By core: ticks without work or waiting for a disk."""
    rows = [line.split() for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines() if line.startswith("cpu")]
    return {int(name[3:]): int(ticks[3]) + int(ticks[4]) for name, *ticks in rows if name != "cpu"}
