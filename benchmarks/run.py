"""Starts a benchmark in its child process, and once more where the machine changed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from benchmarks.bench import CANNOT_RUN_CODE, Size
from benchmarks.catalogue import ON_GPU
from benchmarks.machine import ROOT
from benchmarks.rates import MAX_DRIFT
from benchmarks.report import change
from benchmarks.result import BenchResult, newest

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
LAST_S = 10.0
"""How long a child has to take its side-cars and folders down when it is stopped."""


class BenchDied(RuntimeError):
    """The child process of a benchmark ended with an error, which it has printed, or by a signal."""


class BenchNotRun(RuntimeError):
    """A benchmark needs what is not there; its child has said what."""


def run_bench(name: str, *, size: Size, num_pairs: int, goal_factor: float, shown_on: TextIO) -> BenchResult:
    """What the child found. Its lines appear on ``shown_on`` while it runs.

    Raises:
        BenchDied: the child ended with an error, or by a signal.
        BenchNotRun: it needs what is not there.
    """
    options = ["--size", size, "--pairs", str(num_pairs), "--goal-factor", str(goal_factor)]
    return once_more_if_noisy(lambda: _run_child(name, options, shown_on), shown_on)


def once_more_if_noisy(run: Callable[[], BenchResult], shown_on: TextIO) -> BenchResult:
    """The first result, or the second where the rates of the machine changed during the first; it says whether they changed again."""
    first = run()
    if first.drift <= MAX_DRIFT:
        return first
    print(f"{first.bench}: the rates of this machine changed meanwhile ({change(first)}); once more", file=shown_on, flush=True)
    second = run()
    if second.drift <= MAX_DRIFT:
        return second
    print(f"{first.bench}: they changed again ({change(second)}); this result is noisy", file=shown_on, flush=True)
    return replace(second, noisy=True)


def environment(name: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """What a benchmark, its side-cars and its fresh Pythons see of the caller's environment.

    One thread. No CUDA device unless the benchmark is about one: else ours, which takes the best device that there is, would be compared
    with a loop on the CPU. No setting of Twinkle's, as they change what is timed. No ``PYTHONOPTIMIZE``, which drops every check. And
    compiled modules are kept, as a user has them: those of packages that pip installed are compiled whatever the caller says.
    """
    kept = {key: value for key, value in inherited.items() if not key.startswith("TWINKLE_")}
    return (
        kept | ONE_THREAD | {"PYTHONOPTIMIZE": "", "PYTHONDONTWRITEBYTECODE": ""} | ({} if name in ON_GPU else {"CUDA_VISIBLE_DEVICES": ""})
    )


def _run_child(name: str, options: list[str], shown_on: TextIO) -> BenchResult:
    with TemporaryDirectory() as folder:
        into = Path(folder) / "result.jsonl"
        command = [sys.executable, "-m", "benchmarks.child", name, *options, "--into", str(into)]
        with subprocess.Popen(command, cwd=ROOT, env=environment(name, os.environ), stdout=shown_on) as child:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                _stop(child)
                raise
        if code == CANNOT_RUN_CODE:
            raise BenchNotRun(name)
        if code:
            raise BenchDied(f"{name}: the benchmark {_ended(code)}")
        [result] = newest(into)
        return result


def _ended(code: int) -> str:
    """A child that is killed has no last word, so that all is said here."""
    if code >= 0:
        return f"ended with {code}, see above"
    hint = ", as the system does where memory runs out" if code == -signal.SIGKILL else ""
    return f"was killed by signal {-code} ({signal.Signals(-code).name}){hint}"


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ends the child, which ends its side-cars: by a signal that it has perhaps had from the terminal already."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(LAST_S)
    except subprocess.TimeoutExpired:
        child.kill()
