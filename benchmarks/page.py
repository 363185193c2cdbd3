"""docs/benchmarks.md, from the newest result of each benchmark: a summary, then what was not won, then every case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import OURS
from benchmarks.catalogue import BENCHES, ON_GPU, WAITING
from benchmarks.cell import comparisons, count_value, first_line, table
from benchmarks.peer_key import NOTES, PEERS
from benchmarks.report import change, interval, number, tally
from benchmarks.result import BenchResult, CaseResult, Verdict
from benchmarks.summary import not_won, summary

HEAD = """\
# Benchmarks

Written by `python -m benchmarks page` from the newest result of each benchmark. A ratio is the time of the peer over that of Twinkle: above
1, Twinkle is faster. `make bench` measures all of this anew; [how it is measured](#how-it-is-measured) says what a verdict means.

What the ratios rest on:

- Models are small and random, and run on one thread of a CPU, but for gpu_kernels. What is won by not padding depends on how ragged the
  rows are. Ratios do not carry over to a GPU, least of all those of the head in float32 (linear_ce_logprob).
- twinkle-kit supports training on GPU and NPU, and on a CPU, as its README says, only parts such as data sets and loaders. Here it is given
  a CPU platform of two lines, and newer packages than it pins: numpy (below 2.3) and peft (up to 0.19). TRL runs within its pins.
- An interval is of the pairs within one run. Another run of the same code can lie outside of it: on a busy virtual machine medians moved by
  up to 30 % from run to run.
"""

MEASURED = """\
## How it is measured

Both sides run in turns (ABBA) on one thread and one core of one machine; shown is the median of the pairs with its 95 % bootstrap interval.
That interval tells of the noise within a run, not of that between runs. Before anything is timed, a check compares what both sides compute,
where they compute the same.

- **OK**: the whole interval lies above the goal. **OK within noise**: the goal lies inside the interval, so it is neither shown nor missed.
  **MISSED**: the whole interval lies below. A claim of less than 5 % cannot be shown by times; there the counts are what is meant.
- **NOT JUDGED**: in this case Twinkle took more than 3 % more or less than itself, twice, and its ratios are **too noisy**; or the peer was
  not installed.
- **noisy**: the rates of the machine changed by more than 15 % during the run, and again when it was repeated.
- An *own limit* is no program: a time, which depends on the machine, or what Twinkle takes in another case and an allowance.
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
- LoRA with one tenant, large batches and no padding on a GPU: the time is in the same products. By arithmetic, not measured,
  1.0 to 1.2 times are left.
"""


def write_page(results: Sequence[BenchResult], path: Path) -> None:
    """Writes the page."""
    by_name = {result.bench: result for result in results}
    named = [(by_name[name], what) for name, what in {**BENCHES, **ON_GPU}.items() if name in by_name]
    shown = [result for result, _ in named]
    lost = ["## Where we are not faster\n", *not_won(shown), NOT_AIMED_AT]
    parts = [HEAD, *_summary(shown), *lost, MEASURED, *(_section(result, what) for result, what in named), _absent(by_name)]
    path.write_text("\n".join(parts), encoding="utf-8")


def _summary(results: Sequence[BenchResult]) -> Iterator[str]:
    """What was measured, of which commits, on which machines."""
    if not results:
        return
    yield "## Summary\n"
    yield from summary(results)
    if len(commits := {result.commit for result in results}) > 1:
        yield f"These results are of {len(commits)} commits: rows of different commits are not of the same program.\n"
    yield "".join(f"- {line}\n" for line in dict.fromkeys(_machine(result) for result in results))


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
    notes = "\n".join(NOTES.get(result.bench, ()))
    parts = [f"## {result.bench}", f"{what[0].upper()}{what[1:]}.", notes, _key(result), said, *_tables(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _key(result: BenchResult) -> str:
    """What the names of the peers mean, of those that are explained."""
    explained = PEERS.get(result.bench, {})
    names = dict.fromkeys(each.peer.peer for each in comparisons([result]))
    return "\n".join(f"- **{name}**: {explained[name]}" for name in names if name in explained)


def _machine(result: BenchResult) -> str:
    """Without the load, which changes from run to run."""
    return ", ".join(f"{name} {value}" for name, value in result.machine.items() if name != "load")


def _tables(result: BenchResult) -> Iterator[str]:
    """Ratios, then own limits, then counts."""
    ratios = [row for case in result.cases for row in _ratio_rows(result, case)]
    if ratios:
        yield table(["case", "peer", "peer / Twinkle", "goal", "floor", "verdict"], ratios)
    limits = [[each.case.name, each.peer.peer, each.ratio, each.goal, each.verdict] for each in comparisons([result]) if each.peer.is_limit]
    if limits:
        yield table(["case", "own limit", "limit / Twinkle", "goal", "verdict"], limits)
    counts = [
        [case.name, count.name, count_value(count), "" if not count.is_bounded else "OK" if count.holds else Verdict.FAILED]
        for case in result.cases
        for count in case.counts
    ]
    if counts:
        yield table(["case", "count", "value", "verdict"], counts)


def _ratio_rows(result: BenchResult, case: CaseResult) -> Iterator[list[str]]:
    if case.failure is not None:
        yield [case.name, "", "", "", "", f"{Verdict.FAILED}: {first_line(case.failure)}"]
    floor = "" if case.floor is None else f"{case.floor:.2f}"
    for each in comparisons([result]):
        if each.case is case and not each.peer.is_limit:
            yield [case.name, each.peer.peer, each.ratio, each.goal, floor, each.verdict]
    if case.itself is not None and not case.peers:
        yield [case.name, OURS, interval(case.itself), "", floor, ""]


def _absent(found: dict[str, BenchResult]) -> str:
    """What this page has no result of."""
    missing = [name for name in {**BENCHES, **ON_GPU} if name not in found]
    rows = [f"- {name}: not run yet." for name in missing] + [f"- {name}: waits for {what}." for name, what in WAITING.items()]
    return "## Without a result\n\n" + "\n".join(rows) + "\n"
