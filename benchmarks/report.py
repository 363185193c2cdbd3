"""The lines that a benchmark prints."""

from __future__ import annotations

from benchmarks.bench import OURS, Count
from benchmarks.ratio import Ratio
from benchmarks.result import CaseResult, PeerResult, Verdict


def lines(bench: str, case: CaseResult) -> list[str]:
    """``bench/case ours/peer=2.41x [2.33,2.52] goal>=2.0 floor=0.46 pairs=12 OK`` a peer, after the counts and ours itself."""
    start = f"{bench}/{case.name}"
    found = [f"{start} {_count(count)}" for count in case.counts]
    if case.failure is not None:
        return [*found, f"{start} {Verdict.FAILED}: {case.failure}"]
    if case.itself is not None:
        noise = "OK" if case.is_quiet else "more than 3 % off, twice: this machine is too busy to judge"
        found.append(f"{start} {OURS}/{OURS}={interval(case.itself)} pairs={case.itself.num_pairs} {noise}")
    floor = "" if case.floor is None else f" floor={case.floor:.2f}"
    return found + [f"{start} {_peer(peer, floor)}" for peer in case.peers]


def _peer(result: PeerResult, floor: str) -> str:
    goal = "" if result.goal is None else f" goal>={result.goal:.3g}"
    if result.ratio is None:
        return f"{OURS}/{result.peer}{goal}{floor} {result.verdict}: the peer is not there (make bench-peers)"
    verdict = "" if result.goal is None else f" {result.verdict}"
    return f"{OURS}/{result.peer}={interval(result.ratio)}{goal}{floor} pairs={result.ratio.num_pairs}{verdict}"


def interval(ratio: Ratio) -> str:
    """Median and 95 % interval."""
    return f"{number(ratio.median)}x [{number(ratio.low)},{number(ratio.high)}]"


def number(value: float) -> str:
    """Two decimals below 10, one below 100, none above."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _count(count: Count) -> str:
    return f"{count.name}={bounded(count)} {'OK' if count.holds else Verdict.FAILED}"


def bounded(count: Count) -> str:
    """The value, its unit, its bounds."""
    low = "" if count.at_least is None else f" >={count.at_least:,.6g}"
    high = "" if count.at_most is None else f" <={count.at_most:,.6g}"
    return f"{count.value:,.6g}{count.unit and ' ' + count.unit}{low}{high}"
