"""Ratios against the peers that a user would pick instead.

    python -m benchmarks NAME [--size quick|full] [--pairs N] [--gate] [--json]
    python -m benchmarks all         each of the benchmarks that there are
    python -m benchmarks list        their names
    python -m benchmarks aa          can this machine be judged on at all?
    python -m benchmarks page        docs/benchmarks.md from the newest results

Exits with 0 where every goal is reached (by the upper end of the 95 % interval), every check and every count holds; with 1 where one does
not; with 3 where there was too much noise to judge or a peer is not installed; with 2 where the call is wrong.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.catalogue import BENCHES, ON_GPU, SELF_TEST, WAITING
from benchmarks.harness import GATE_FACTOR, NUM_PAIRS
from benchmarks.machine import ROOT
from benchmarks.page import write_page
from benchmarks.result import Verdict, append, newest, worst
from benchmarks.run import BenchDied, run_bench

RESULTS = ROOT / "benchmarks" / "results.jsonl"
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a benchmark, or all, list, aa, page")
    parser.add_argument("--size", choices=["quick", "full"], default="quick")
    parser.add_argument("--pairs", type=int, help="runs of each side against each peer (default: 10, full 30)")
    parser.add_argument("--gate", action="store_true", help=f"ask for {GATE_FACTOR} of each goal, as a gate does")
    parser.add_argument("--json", action="store_true", help="a line of JSON a benchmark on standard output, the rest on standard error")
    arguments = parser.parse_args()
    if arguments.name == "list":
        print("\n".join(_listing()))
        return 0
    if arguments.name == "page":
        write_page(newest(RESULTS), PAGE)
        return 0
    if arguments.name in WAITING:
        print(f"{arguments.name} waits for {WAITING[arguments.name]}: there is nothing to run yet", file=sys.stderr)
        return 2
    if arguments.name not in {*BENCHES, *ON_GPU, SELF_TEST, "all"}:
        parser.error(f"there is no benchmark {arguments.name!r}; there are: {', '.join([*BENCHES, *ON_GPU])}")
    if arguments.pairs is not None and arguments.pairs < 1:
        parser.error(f"--pairs is at least 1, got {arguments.pairs}")

    names = list(BENCHES) if arguments.name == "all" else [arguments.name]
    return worst(_run(name, arguments) for name in names).exit_code


def _run(name: str, arguments: argparse.Namespace) -> Verdict:
    """Runs one benchmark and keeps its result, unless its goals were those of a gate."""
    try:
        result = run_bench(
            name,
            size=arguments.size,
            num_pairs=arguments.pairs or NUM_PAIRS[arguments.size],
            goal_factor=GATE_FACTOR if arguments.gate else 1.0,
            shown_on=sys.stderr if arguments.json else sys.stdout,
        )
    except BenchDied as error:
        print(error, file=sys.stderr)
        return Verdict.FAILED
    if arguments.json:
        print(result.to_json(), flush=True)
    if name != SELF_TEST and not arguments.gate:
        append(result, RESULTS)
    return result.verdict


def _listing() -> list[str]:
    width = max(map(len, [*BENCHES, *ON_GPU, *WAITING]))
    there = [f"{name:{width}}  {what}" for name, what in {**BENCHES, **ON_GPU}.items()]
    return there + [f"{name:{width}}  (waits for {what})" for name, what in WAITING.items()]


if __name__ == "__main__":
    sys.exit(main())
