"""Variants that are a process each: what happens once in the life of a process is timed in a new one every time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench import Variant


def timed_in_fresh_python(code: str, path: Path | None = None, *, before: str = "pass") -> Variant:
    """The time that ``code`` takes by the clock of a new Python, after ``before``; what lies in ``path`` hides what is installed."""
    program = f"import time\n{before}\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)"
    return lambda: float(output_of(program, path).splitlines()[-1])


def time_of_fresh_python(code: str) -> Variant:
    """The time of a whole process, start and end included."""

    def run() -> float:
        start = time.perf_counter()
        output_of(code)
        return time.perf_counter() - start

    return run


def output_of(code: str, path: Path | None = None) -> str:
    """What a new Python prints. It runs in an empty folder, as some packages write where they are imported."""
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-c", code]
        done = subprocess.run(command, env=env, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout
