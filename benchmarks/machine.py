"""Where a benchmark runs: the machine, the commit, and the core that a run is pinned to."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOOK_S = 0.5


def describe_machine() -> dict[str, str]:
    """What somebody who compares two results wants to know."""
    import torch  # here, so that a list of names does not wait for it

    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in cpu.splitlines())}
    gpu = {"GPU": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return gpu | {
        "CPU": fields.get("model name", platform.machine()),
        "cores": str(len(os.sched_getaffinity(0))),
        "AMX": "yes" if "amx_tile" in fields.get("flags", "") else "no",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def commit() -> str:
    """The short hash, with ``+`` where files that git knows were changed since."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return shown.stdout.strip()


def quietest_core() -> int:
    """The core that was idle for longest during the last half second, of those that this process may use."""
    allowed = os.sched_getaffinity(0)
    before = _idle_ticks()
    time.sleep(LOOK_S)
    after = _idle_ticks()
    return max(allowed, key=lambda core: after[core] - before[core])


def _idle_ticks() -> dict[int, int]:
    """By core: ticks without work or waiting for a disk."""
    rows = [line.split() for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines() if line.startswith("cpu")]
    return {int(name[3:]): int(ticks[3]) + int(ticks[4]) for name, *ticks in rows if name != "cpu"}
