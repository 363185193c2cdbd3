"""Two processes in a gloo group, forked from a fresh Python: for checks of the tier "dist"."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twinkle.core.import_string import import_attribute
from twinkle.core.runtime.context import ProcessContext, current, use_context

_TIMEOUT_S = 120


def run_on_two_ranks(entry: str, *arguments: Any) -> list[Any]:
    """``entry`` (``module:function``) called as ``function(rank, *arguments)`` in two ranks of one group: their results, plain values.

    Raises:
        RuntimeError: a rank failed; the message holds its traceback.
    """
    payload = pickle.dumps((sys.path, current().settings, entry, arguments))
    program = "from twinkle.testing.rank_pair import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", program], input=payload, capture_output=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"a rank failed:\n{done.stderr.decode(errors='replace')}")
    results: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def main() -> None:
    """Reads the call from standard input, writes both ranks' results to standard output as JSON."""
    path, settings, entry, arguments = pickle.load(sys.stdin.buffer)  # from our own parent, which wrote it a moment ago
    sys.path[:] = path
    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()  # before the group exists: each process makes its own connections
        rank = 0 if child else 1
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
        with use_context(ProcessContext.fresh(settings)):
            result = import_attribute(entry, "the function of a check")(rank, *arguments)
        (Path(folder) / f"{rank}.json").write_text(json.dumps(result), encoding="utf-8")
        dist.destroy_process_group()
        if not child:
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"rank 1 ended with {status}")
        print("\n" + json.dumps([json.loads((Path(folder) / f"{r}.json").read_text(encoding="utf-8")) for r in (0, 1)]))
