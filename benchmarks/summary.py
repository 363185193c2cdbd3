"""The top of the page: all that was measured, a line for each peer of a benchmark, and all that was not won."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.cell import Comparison, comparisons, count_value, first_line, titled
from benchmarks.report import difficulty
from benchmarks.result import BenchResult, CaseResult, Verdict, worst


def summary(results: Sequence[BenchResult]) -> Iterator[str]:
    """Goals, then what has none, then own limits, then checks and counts."""
    measured = list(comparisons(results))
    programs = [each for each in measured if not each.peer.is_limit]
    rows = [_goal_row(group) for group in _by_peer(programs) if any(each.peer.goal is not None for each in group)]
    head = ["benchmark", "peer", "cases", "peer / Twinkle, smallest of all", "at the hardest goal", "goal", "verdict", "commit"]
    yield from titled("Goals", head, rows)
    rows = [_smallest_row(group) for group in _by_peer(each for each in programs if each.peer.goal is None)]
    yield from titled("Also measured, no goal", ["benchmark", "peer", "cases", "peer / Twinkle, smallest", "in the case", "commit"], rows)
    rows = [_limit_row(group) for group in _by_peer(each for each in measured if each.peer.is_limit)]
    yield from titled(
        "Own limits, which are no programs but times and allowances that Twinkle sets itself",
        ["benchmark", "limit", "cases", "limit / Twinkle, hardest case", "goal", "verdict", "commit"],
        rows,
    )
    head = ["benchmark", "cases", "failed", "counts within their bounds", "counts without a bound", "verdict", "commit"]
    yield from titled("Checks and counts", head, [_own_row(result) for result in results])


def _by_peer(found: Iterable[Comparison]) -> list[list[Comparison]]:
    """Those of one peer in one benchmark together, in the order in which they came first."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for each in found:
        groups.setdefault((each.result.bench, each.peer.peer), []).append(each)
    return list(groups.values())


def _goal_row(group: Sequence[Comparison]) -> list[str]:
    hardest = _hardest(group)
    verdict = f"{hardest.verdict}{_noisy(hardest.result)}"
    return [*_start(group), _smallest(group).ratio, hardest.ratio, hardest.goal, verdict, _commit(hardest.result)]


def _smallest_row(group: Sequence[Comparison]) -> list[str]:
    smallest = _smallest(group)
    return [*_start(group), f"{smallest.ratio}{_noisy(smallest.result)}", smallest.case.name, _commit(smallest.result)]


def _limit_row(group: Sequence[Comparison]) -> list[str]:
    hardest = _hardest(group) if any(each.peer.goal is not None for each in group) else _smallest(group)
    return [*_start(group), hardest.ratio, hardest.goal, f"{hardest.verdict}{_noisy(hardest.result)}", _commit(hardest.result)]


def _own_row(result: BenchResult) -> list[str]:
    counts = [count for case in result.cases for count in case.counts]
    judged = [count for count in counts if count.is_bounded]
    failed = sum(case.failure is not None for case in result.cases)
    held = f"{sum(count.holds for count in judged)} of {len(judged)}"
    verdict = worst(case.own_verdict for case in result.cases)
    return [_link(result), str(len(result.cases)), str(failed), held, str(len(counts) - len(judged)), verdict, _commit(result)]


def _hardest(group: Sequence[Comparison]) -> Comparison:
    """The goal with the worst verdict, of these the one that is farthest from being reached."""
    return min((each for each in group if each.peer.goal is not None), key=lambda each: difficulty(each.peer))


def _smallest(group: Sequence[Comparison]) -> Comparison:
    """The smallest ratio, whatever is asked of it."""
    timed = [(each.peer.ratio.median, each) for each in group if each.peer.ratio is not None]
    return min(timed, key=lambda pair: pair[0])[1] if timed else group[0]


def _start(group: Sequence[Comparison]) -> list[str]:
    return [_link(group[0].result), group[0].peer.peer, str(len(group))]


def _link(result: BenchResult) -> str:
    return f"[{result.bench}](#{result.bench})"


def _commit(result: BenchResult) -> str:
    return f"`{result.commit}`"


def _noisy(result: BenchResult) -> str:
    return ", noisy" if result.noisy else ""


FAILED = "Failed"
MISSED = "Goals missed"
UPPER_END = "Goals that only the upper end of the interval reaches"
NOT_JUDGED = "Goals not judged, for noise or because the peer is not installed"
SLOWER = "Slower than the peer, where no more is asked"
NOT_SHOWN = "Not shown to be faster, as the interval reaches below 1"


def not_won(results: Sequence[BenchResult]) -> Iterator[str]:
    """Each goal, check and count that does not hold or was not judged, and each peer that was faster or may be, goal or none."""
    failed = [[result.bench, case.name, why] for result in results for case in result.cases for why in _failures(case)]
    yield from titled(FAILED, ["benchmark", "case", "what"], failed)
    found = list(comparisons(results))
    for title in (MISSED, UPPER_END, NOT_JUDGED, SLOWER, NOT_SHOWN):
        rows = [[each.result.bench, each.case.name, each.peer.peer, each.ratio, each.goal] for each in found if _how_lost(each) == title]
        yield from titled(title, ["benchmark", "case", "peer", "peer / Twinkle", "goal"], rows)


def _how_lost(each: Comparison) -> str | None:
    """Where it is listed; None: it was won. Of a limit it is asked that it holds, no more: nobody is faster than a time."""
    peer = each.peer
    if peer.verdict == Verdict.NOT_JUDGED or peer.ratio is None:
        return NOT_JUDGED
    if peer.verdict == Verdict.MISSED:
        return MISSED
    if peer.goal is not None and peer.ratio.median < peer.goal:
        return UPPER_END
    if peer.is_limit or peer.ratio.low >= 1:
        return None
    return SLOWER if peer.ratio.high < 1 else NOT_SHOWN


def _failures(case: CaseResult) -> Iterator[str]:
    if case.failure is not None:
        yield first_line(case.failure)
    yield from (f"{count.name}: {count_value(count)}" for count in case.counts if not count.holds)
