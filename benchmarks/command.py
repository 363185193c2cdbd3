"""Ratios against the peers that a user would pick instead.

    python -m benchmarks NAME [--size quick|full] [--pairs N] [--gate] [--json]
    python -m benchmarks all         each of the benchmarks that there are
    python -m benchmarks list        their names
    python -m benchmarks aa          can this machine be judged on at all?
    python -m benchmarks page        docs/benchmarks.md from the newest results

Exits with 0 where every goal is reached (by the upper end of the 95 % interval), every check and every count holds; with 1 where one does
not; with 3 where it cannot be judged (too much noise, a peer that is not installed, no GPU for a benchmark of GPUs); with 2 where the call
is wrong. CONTRIBUTING.md says what the fields of --json mean.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.catalogue import BENCHES, ON_GPU, SELF_TEST, WAITING
from benchmarks.harness import GATE_FACTOR, NUM_PAIRS
from benchmarks.interrupt import EXIT_CODE
from benchmarks.machine import ROOT
from benchmarks.page import write_page
from benchmarks.report import ending
from benchmarks.result import BenchResult, ResultsError, Verdict, append, newest, worst
from benchmarks.run import BenchDied, BenchNotRun, run_bench
from twinkle.core.suggestion import did_you_mean

RESULTS = ROOT / "benchmarks" / "results.jsonl"
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="a benchmark, or all, list, aa, page")
    parser.add_argument("--size", choices=["quick", "full"], default="quick", help="quick: some seconds each (default); full: all cases")
    parser.add_argument("--pairs", type=int, metavar="N", help="runs of each side against each peer: even, 10 by default, 30 for full")
    parser.add_argument("--gate", action="store_true", help=f"ask for {GATE_FACTOR} of each goal, as a gate does; nothing is kept")
    parser.add_argument("--json", action="store_true", help="a line of JSON a benchmark on standard output, the rest on standard error")
    arguments = parser.parse_args()
    if arguments.name is None:
        print(parser.format_help(), *_listing(), sep="\n", file=sys.stderr)
        return 2
    if arguments.name == "list":
        print("\n".join(_listing()))
        return 0
    if arguments.name == "page":
        return _write_page()
    if arguments.name in WAITING:
        print(f"{arguments.name} waits for {WAITING[arguments.name]}: there is nothing to run yet", file=sys.stderr)
        return 2
    known = [*BENCHES, *ON_GPU, SELF_TEST, "all", "list", "page"]
    if arguments.name not in known:
        parser.error(f"there is no benchmark {arguments.name!r}.{did_you_mean(arguments.name, [*known, *WAITING])}")
    if arguments.pairs is not None and (arguments.pairs < 2 or arguments.pairs % 2):
        parser.error(f"--pairs is an even number, so that each side is first as often as the other; got {arguments.pairs}")
    if not sys.platform.startswith("linux"):
        print(f"benchmarks are pinned to a core and read /proc: they run on Linux, this is {sys.platform}", file=sys.stderr)
        return 2

    try:
        return _run_all(list(BENCHES) if arguments.name == "all" else [arguments.name], arguments).exit_code
    except KeyboardInterrupt:
        print("\ninterrupted: what was finished is kept, the rest is not", file=sys.stderr)
        return EXIT_CODE


def _run_all(names: list[str], arguments: argparse.Namespace) -> Verdict:
    """Runs one after the other, whatever becomes of each; of several, the last lines are said once more in the end."""
    results = {name: _run(name, arguments) for name in names}
    if len(names) > 1:
        lines = [
            f"{name} {result}: it has no result" if isinstance(result, Verdict) else ending(result)[-1] for name, result in results.items()
        ]
        print("", *lines, sep="\n", file=sys.stderr if arguments.json else sys.stdout)
    return worst(result if isinstance(result, Verdict) else result.verdict for result in results.values())


def _run(name: str, arguments: argparse.Namespace) -> BenchResult | Verdict:
    """Runs one benchmark and keeps its result, unless its goals were those of a gate. A verdict alone: there is no result."""
    shown_on = sys.stderr if arguments.json else sys.stdout
    try:
        result = run_bench(
            name,
            size=arguments.size,
            num_pairs=arguments.pairs or NUM_PAIRS[arguments.size],
            goal_factor=GATE_FACTOR if arguments.gate else 1.0,
            shown_on=shown_on,
        )
    except BenchNotRun as error:
        print(f"{error} {Verdict.NOT_JUDGED}", file=sys.stderr)
        return Verdict.NOT_JUDGED
    except BenchDied as error:
        print(error, file=sys.stderr)
        return Verdict.FAILED
    if name != SELF_TEST and not arguments.gate:
        try:
            append(result, RESULTS)
        except OSError as error:  # a full disk, a checkout that cannot be written: what was found is still worth showing
            print(f"{name}: the result is not kept in {RESULTS}: {error}", file=sys.stderr)
    if arguments.json:
        print(result.to_json(), flush=True)
    print(*ending(result), sep="\n", file=shown_on, flush=True)
    return result


def _write_page() -> int:
    """Of results with as many pairs as the quick tier has: fewer are for a look only."""
    try:
        write_page(newest(RESULTS, min_pairs=NUM_PAIRS["quick"]), PAGE)
    except FileNotFoundError:
        print("there is no result yet to write a page from: run `python -m benchmarks all`, or one of its names", file=sys.stderr)
        return 2
    except (OSError, ResultsError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _listing() -> list[str]:
    width = max(map(len, [*BENCHES, *ON_GPU, *WAITING]))
    there = [f"{name:{width}}  {what}" for name, what in {**BENCHES, **ON_GPU}.items()]
    return there + [f"{name:{width}}  (waits for {what})" for name, what in WAITING.items()]
