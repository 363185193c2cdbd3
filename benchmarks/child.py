"""One benchmark in a process of its own, on one thread and one core: ``python -m benchmarks.child NAME ...``, called by the parent."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench import CANNOT_RUN_CODE, CannotRun
from benchmarks.harness import run_cases
from benchmarks.interrupt import EXIT_CODE, end_by_interrupt
from benchmarks.machine import commit, describe_machine, quietest_core
from benchmarks.progress import Progress
from benchmarks.report import lines
from benchmarks.result import BenchResult, CaseResult, append


def main() -> int:
    """Prints the lines of each case and appends the result to a file; the exit code."""
    import torch  # takes a second or two, in which a Ctrl-C is to be as quiet as later

    from benchmarks.calibration import calibrate

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench")
    parser.add_argument("--size", required=True, choices=["quick", "full"])
    parser.add_argument("--pairs", required=True, type=int)
    parser.add_argument("--goal-factor", required=True, type=float)
    parser.add_argument("--into", required=True, type=Path)
    arguments = parser.parse_args()

    machine, started_at = describe_machine(), commit()  # before only one core is left, and before somebody changes the files
    os.sched_setaffinity(0, {quietest_core()})
    torch.set_num_threads(1)
    module = importlib.import_module(f"benchmarks.{arguments.bench}")
    start = time.monotonic()
    first = calibrate()
    progress = Progress(arguments.bench, sys.stderr)

    def show(case: CaseResult) -> None:
        progress.clear()
        print(*lines(arguments.bench, case), sep="\n", flush=True)

    cases = module.cases(arguments.size)
    try:
        found = run_cases(cases, first, num_pairs=arguments.pairs, goal_factor=arguments.goal_factor, done=show, doing=progress.show)
    except CannotRun as error:
        print(f"{arguments.bench}: {error}", file=sys.stderr)
        return CANNOT_RUN_CODE
    drifting, drift = first.drift(calibrate())
    result = BenchResult(
        bench=arguments.bench,
        size=arguments.size,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"python -m benchmarks {arguments.bench} --size {arguments.size} --pairs {arguments.pairs}",
        commit=started_at,
        machine=machine,
        rates=first,
        drift=drift,
        drifting=drifting,
        noisy=False,
        cases=found,
        took_s=round(time.monotonic() - start, 1),
    )
    append(result, arguments.into)
    return 0


if __name__ == "__main__":
    end_by_interrupt()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)
