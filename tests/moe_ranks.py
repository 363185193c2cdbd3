"""Two gloo ranks with FSDP2 and a tiny Qwen3-MoE, compared with one process; transformers 4 comes from a folder beside the environment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("plugins_builtin") / "patch" / "moe_fsdp2_worker.py"
OVERLAY = Path(sys.prefix) / "overlay" / "transformers-4.57.6"
needs_transformers_4 = pytest.mark.skipif(
    not OVERLAY.is_dir(), reason="transformers 4.57.6 is not beside the environment: `make test` puts it there"
)


def two_ranks(
    case: str, *patches: str, overlay: Path | None = OVERLAY, environment: Mapping[str, str] | None = None
) -> dict[str, float] | None:
    """The largest differences to one process ("loss", "weights"), and between ``patches`` ("apart"); None where a rank aborted.

    Each of ``patches`` makes a run of its own; without any there is one run of the model as it is.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environ = {**(os.environ if environment is None else environment), "OMP_NUM_THREADS": "1"}
    if overlay:
        environ["PYTHONPATH"] = str(overlay)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), port, case, *patches],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    deadline_s = time.monotonic() + 120
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < deadline_s:
        if any(rank.poll() for rank in ranks):  # the other one waits for it: no need to wait along
            break
        time.sleep(0.05)
    for rank in ranks:
        rank.kill()
    outputs = [rank.communicate() for rank in ranks]
    if any(rank.returncode for rank in ranks):
        assert any("gloo" in error for _, error in outputs), outputs
        return None
    seen: dict[str, float] = json.loads(outputs[0][0])
    return seen
