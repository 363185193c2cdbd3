"""docs/benchmarks.md, written from the newest result of each benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import OURS
from benchmarks.catalogue import BENCHES, ON_GPU, WAITING
from benchmarks.report import bounded, interval, number
from benchmarks.result import BenchResult, CaseResult, Verdict

HEAD = """\
# Benchmarks

Written by `python -m benchmarks page` from the newest result of each benchmark; every number comes with the command that shows it again.

A ratio is the time of the peer over that of Twinkle: above 1, Twinkle is faster. Both sides run in turns (ABBA) on one thread and one core
of one machine; shown is the median of the pairs with its 95 % bootstrap interval. A goal is reached where the upper end of the interval
reaches it. Before anything is timed, both sides are checked to do the same work, and Twinkle is timed against itself: where that differs
by more than 3 % nothing is judged. A peer that is a time (`0.1 s`) takes exactly that time, so its goal depends on the machine. *Floor* is
the shortest possible time, from the rates of matrix products and copies in the same run, over the time of Twinkle. Absolute times are not
shown, because they say nothing about another machine.

`make bench` runs the quick tier of everything. [Contributing](../CONTRIBUTING.md) says how a benchmark is written.
"""

NOT_FASTER = """\
## Where we are not faster

Known beforehand, and not aimed at:

- One big dense model with all parameters trained, on many GPUs: Megatron-LM and torchtitan set the bar, and the time is in products and
  collectives that everyone calls.
- Decoding in vLLM: the engine is the same one.
- LoRA with one tenant, large batches and no padding on a GPU: the time is in the same products; what is left is 1.0 to 1.2 times.
"""


def write_page(results: Sequence[BenchResult], path: Path) -> None:
    """Writes the page."""
    path.write_text("\n".join([HEAD, *_sections(results), NOT_FASTER, *_missed(results), *_absent(results)]), encoding="utf-8")


def _sections(results: Sequence[BenchResult]) -> Iterator[str]:
    """One a benchmark, in the order of the catalogue."""
    by_name = {result.bench: result for result in results}
    for name, what in {**BENCHES, **ON_GPU}.items():
        if name in by_name:
            yield _section(by_name[name], what)


def _section(result: BenchResult, what: str) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    said = f"`{result.command}` at commit `{result.commit}`, {result.when[:10]}; {machine}."
    alone = [case.itself.median for case in result.cases if case.itself is not None]
    if alone:
        said += f" Twinkle over itself: {number(min(alone))} to {number(max(alone))}."
    if result.noisy:
        said += f" The rates of the machine changed by {result.drift:.0%} meanwhile, twice: this result is noisy."
    return "\n\n".join([f"## {result.bench}", f"{what[0].upper()}{what[1:]}.", said, *_tables(result.cases)]) + "\n"


def _tables(cases: Sequence[CaseResult]) -> Iterator[str]:
    """Ratios, then counts."""
    ratios = [row for case in cases for row in _ratio_rows(case)]
    if ratios:
        yield _table(["case", "peer", "peer / Twinkle", "goal", "floor", "verdict"], ratios)
    counts = [
        [
            case.name,
            count.name,
            bounded(count).replace(">=", "at least ").replace("<=", "at most "),
            "OK" if count.holds else Verdict.FAILED,
        ]
        for case in cases
        for count in case.counts
    ]
    if counts:
        yield _table(["case", "count", "value", "verdict"], counts)


def _ratio_rows(case: CaseResult) -> Iterator[list[str]]:
    if case.failure is not None:
        yield [case.name, "", "", "", "", f"{Verdict.FAILED}: {case.failure.splitlines()[0]}"]
    floor = "" if case.floor is None else f"{case.floor:.2f}"
    for peer in case.peers:
        shown = "not installed" if peer.ratio is None else interval(peer.ratio)
        goal, verdict = ("", "") if peer.goal is None else (f"{peer.goal:.3g}", str(peer.verdict))
        yield [case.name, peer.peer, shown, goal, floor, verdict]
    if case.itself is not None and not case.peers:
        yield [case.name, OURS, interval(case.itself), "", floor, ""]


def _missed(results: Sequence[BenchResult]) -> Iterator[str]:
    """Every goal of these results that was not reached, and every check and count that does not hold."""
    rows = [f"- {result.bench}, {case.name}: {what}." for result in results for case in result.cases for what in _misses(case)]
    if rows:
        yield "Missed in the results above:\n\n" + "\n".join(rows) + "\n"


def _misses(case: CaseResult) -> Iterator[str]:
    if case.failure is not None:
        yield f"failed ({case.failure.splitlines()[0]})"
    for count in case.counts:
        if not count.holds:
            yield f"{count.name} is {bounded(count)}"
    for peer in case.peers:
        if peer.verdict == Verdict.MISSED and peer.ratio is not None and peer.goal is not None:
            yield f"{number(peer.ratio.median)} times as fast as {peer.peer}, the goal is {peer.goal:.3g}"


def _absent(results: Sequence[BenchResult]) -> Iterator[str]:
    """What this page has no result of."""
    missing = [name for name in {**BENCHES, **ON_GPU} if name not in {result.bench for result in results}]
    rows = [f"- {name}: not run yet." for name in missing] + [f"- {name}: waits for {what}." for name, what in WAITING.items()]
    yield "## Without a result\n\n" + "\n".join(rows) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
