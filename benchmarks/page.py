"""docs/benchmarks.md, from the newest result of each benchmark: a summary, then what was not won, then every case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import OURS, Count
from benchmarks.catalogue import BENCHES, ON_GPU, WAITING
from benchmarks.report import WITHIN, bounded, change, difficulty, interval, number, tally
from benchmarks.result import BenchResult, CaseResult, PeerResult, Verdict, worst

HEAD = """\
# Benchmarks

Written by `python -m benchmarks page` from the newest result of each benchmark. A ratio is the time of the peer over that of Twinkle: above
1, Twinkle is faster. `make bench` measures all of this anew; [how it is measured](#how-it-is-measured) says what a verdict means.
"""

MEASURED = """\
## How it is measured

Both sides run in turns (ABBA) on one thread and one core of one machine; shown is the median of the pairs with its 95 % bootstrap interval.
Before anything is timed, a check compares what both sides compute, where they compute the same.

- **OK**: the whole interval lies above the goal. **OK within noise**: the goal lies inside the interval, so it is neither shown nor missed.
  **MISSED**: the whole interval lies below. A claim of less than 5 % cannot be shown by times; there the counts are what is meant.
- **NOT JUDGED**: in this case Twinkle took more than 3 % more or less than itself, twice; or the peer was not installed.
- **noisy**: the rates of the machine changed by more than 15 % during the run, and again when it was repeated.
- A peer that is a time (`0.1 s`) takes exactly that time, so such a goal depends on the machine.
- *Floor* is the shortest possible time, from the rates of matrix products and copies in the same run, over the time of Twinkle.
- Counts do not flicker: operations, bytes, calls and modules, with the bounds that they have.
- A result of fewer pairs than the quick tier has is left out. `+` behind a commit: files were changed that were not committed.

Absolute times are not shown, because they say nothing about another machine. [Contributing](../CONTRIBUTING.md) says how a benchmark is
written.
"""

NOT_AIMED_AT = """\
Known beforehand, and not aimed at:

- One big dense model with all parameters trained, on many GPUs: Megatron-LM and torchtitan set the bar, and the time is in products and
  collectives that everyone calls.
- Decoding in vLLM: the engine is the same one.
- LoRA with one tenant, large batches and no padding on a GPU: the time is in the same products; what is left is 1.0 to 1.2 times.
"""


def write_page(results: Sequence[BenchResult], path: Path) -> None:
    """Writes the page."""
    by_name = {result.bench: result for result in results}
    named = [(by_name[name], what) for name, what in {**BENCHES, **ON_GPU}.items() if name in by_name]
    shown = [result for result, _ in named]
    parts = [HEAD, *_summary(shown), *_not_won(shown), MEASURED, *(_section(result, what) for result, what in named), _absent(by_name)]
    path.write_text("\n".join(parts), encoding="utf-8")


def _summary(results: Sequence[BenchResult]) -> Iterator[str]:
    """A line for each peer of a benchmark that there is a goal for: the case in which it is hardest to reach."""
    if not results:
        return
    yield "## Summary\n"
    rows = [row for result in results for row in _summary_rows(result)]
    yield _table(["benchmark", "peer", "cases", "peer / Twinkle, hardest case", "goal", "verdict", "commit"], rows) + "\n"
    if len(commits := {result.commit for result in results}) > 1:
        yield f"These results are of {len(commits)} commits: rows of different commits are not of the same program.\n"
    yield "".join(f"- {line}\n" for line in dict.fromkeys(_machine(result) for result in results))


def _summary_rows(result: BenchResult) -> Iterator[list[str]]:
    start, end = f"[{result.bench}](#{result.bench})", f"`{result.commit}`"
    noisy = ", noisy" if result.noisy else ""
    by_peer: dict[str, list[PeerResult]] = {}
    for peer in (peer for case in result.cases for peer in case.peers if peer.goal is not None):
        by_peer.setdefault(peer.peer, []).append(peer)
    for name, peers in by_peer.items():
        hardest = min(peers, key=difficulty)
        yield [start, name, str(len(peers)), _ratio(hardest), _goal(hardest), f"{_verdict(hardest)}{noisy}", end]
    if (rest := worst(case.own_verdict for case in result.cases)) != Verdict.OK or not by_peer:
        yield [start, "checks and counts", str(len(result.cases)), "", "", f"{rest}{noisy}", end]


def _not_won(results: Sequence[BenchResult]) -> Iterator[str]:
    """Each goal, check and count that does not hold or was not judged, and each peer that was faster, goal or none."""
    cases = [(result, case) for result in results for case in result.cases]
    peers = [(result, case, peer) for result, case in cases for peer in case.peers]
    yield "## Where we are not faster\n"
    parts = {
        "Failed": [[r.bench, c.name, why] for r, c in cases for why in _failures(c)],
        "Goals missed": [_lost(each) for each in peers if each[2].verdict == Verdict.MISSED],
        "Goals that only the upper end of the interval reaches": [
            _lost((r, c, p))
            for r, c, p in peers
            if p.is_within_noise and p.ratio is not None and p.goal is not None and p.ratio.median < p.goal
        ],
        "Goals not judged, for noise or because the peer is not installed": [
            _lost(each) for each in peers if each[2].verdict == Verdict.NOT_JUDGED
        ],
        "Slower than the peer, where no more is asked": [
            _lost((r, c, p)) for r, c, p in peers if p.verdict == Verdict.OK and p.ratio is not None and p.ratio.high < 1
        ],
    }
    for title, rows in parts.items():
        if rows:
            head = ["benchmark", "case", "peer", "peer / Twinkle", "goal"] if len(rows[0]) > 3 else ["benchmark", "case", "what"]
            yield f"{title}:\n\n{_table(head, rows)}\n"
    yield NOT_AIMED_AT


def _lost(each: tuple[BenchResult, CaseResult, PeerResult]) -> list[str]:
    result, case, peer = each
    return [result.bench, case.name, peer.peer, _ratio(peer), _goal(peer)]


def _failures(case: CaseResult) -> Iterator[str]:
    if case.failure is not None:
        yield _first_line(case.failure)
    yield from (f"{count.name}: {_bounded(count)}" for count in case.counts if not count.holds)


def _section(result: BenchResult, what: str) -> str:
    said = f"`{result.command}` at commit `{result.commit}`, {result.when[:10]}; {_machine(result)}."
    alone = [case.itself.median for case in result.cases if case.itself is not None]
    if alone:
        said += f" Twinkle over itself: {number(min(alone))} to {number(max(alone))}."
    if "load" in result.machine:
        said += f" Load of the machine at the start: {result.machine['load']}."
    said += f" Of all: {tally(result)}."
    if result.noisy:
        said += f" The rates of the machine changed meanwhile ({change(result)}), twice: this result is noisy."
    return "\n\n".join([f"## {result.bench}", f"{what[0].upper()}{what[1:]}.", said, *_tables(result.cases)]) + "\n"


def _machine(result: BenchResult) -> str:
    """Without the load, which changes from run to run."""
    return ", ".join(f"{name} {value}" for name, value in result.machine.items() if name != "load")


def _tables(cases: Sequence[CaseResult]) -> Iterator[str]:
    """Ratios, then counts."""
    ratios = [row for case in cases for row in _ratio_rows(case)]
    if ratios:
        yield _table(["case", "peer", "peer / Twinkle", "goal", "floor", "verdict"], ratios)
    counts = [
        [case.name, count.name, _bounded(count), "" if not count.is_bounded else "OK" if count.holds else Verdict.FAILED]
        for case in cases
        for count in case.counts
    ]
    if counts:
        yield _table(["case", "count", "value", "verdict"], counts)


def _ratio_rows(case: CaseResult) -> Iterator[list[str]]:
    if case.failure is not None:
        yield [case.name, "", "", "", "", f"{Verdict.FAILED}: {_first_line(case.failure)}"]
    floor = "" if case.floor is None else f"{case.floor:.2f}"
    for peer in case.peers:
        yield [case.name, peer.peer, _ratio(peer), _goal(peer), floor, _verdict(peer)]
    if case.itself is not None and not case.peers:
        yield [case.name, OURS, interval(case.itself), "", floor, ""]


def _ratio(peer: PeerResult) -> str:
    return "not installed" if peer.ratio is None else interval(peer.ratio)


def _goal(peer: PeerResult) -> str:
    return "" if peer.goal is None else f"{peer.goal:.3g}"


def _verdict(peer: PeerResult) -> str:
    return "" if peer.goal is None else f"{peer.verdict}{WITHIN if peer.is_within_noise else ''}"


def _bounded(count: Count) -> str:
    return bounded(count).replace(">=", "at least ").replace("<=", "at most ")


def _first_line(text: str) -> str:
    return text.splitlines()[0]


def _absent(found: dict[str, BenchResult]) -> str:
    """What this page has no result of."""
    missing = [name for name in {**BENCHES, **ON_GPU} if name not in found]
    rows = [f"- {name}: not run yet." for name in missing] + [f"- {name}: waits for {what}." for name, what in WAITING.items()]
    return "## Without a result\n\n" + "\n".join(rows) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
