"""The lines that a benchmark prints."""

from __future__ import annotations

from collections import Counter

from benchmarks.bench import OURS, Count
from benchmarks.ratio import MAX_SELF_DIFFERENCE, Ratio
from benchmarks.result import BenchResult, CaseResult, PeerResult, Verdict

SEVERITY = list(Verdict)
WITHIN = " within noise"
"""After an OK: the goal lies inside the interval."""


def lines(bench: str, case: CaseResult) -> list[str]:
    """``bench/case ours/peer=2.41x [2.33,2.52] goal>=2.0 floor=0.46 pairs=12 OK`` a peer, after the counts and ours itself."""
    start = f"{bench}/{case.name}"
    found = [f"{start} {_count(count)}" for count in case.counts]
    if case.failure is not None:
        return [*found, f"{start} {Verdict.FAILED}: {case.failure}"]
    if case.itself is not None:
        found.append(f"{start} {OURS}/{OURS}={interval(case.itself)} pairs={case.itself.num_pairs} {_noise(case.itself)}")
    return found + [f"{start} {_peer(peer, _floor(case), peer.verdict)}{WITHIN if peer.is_within_noise else ''}" for peer in case.peers]


def ending(result: BenchResult) -> list[str]:
    """How many goals and counts hold, then what gave the verdict: a check or a count that failed, else the goal that is hardest to reach.

    Where nothing is judged, whether the machine is quiet enough to judge on.
    """
    said, last = tally(result), f"{result.bench} {result.verdict}"
    noisiest = max((case.itself for case in result.cases if case.itself), key=lambda own: abs(own.median - 1), default=None)
    if failed := [f"{case.name}: {why}" for case in result.cases for why in failures(case)]:
        last = f"{last}: {failed[0]}"
    elif (found := hardest_goal(result)) is not None:
        case, hardest = found
        last = f"{result.bench} {_peer(hardest, _floor(case), result.verdict)}"
    elif noisiest is not None:
        said = _quiet(noisiest)
        last = f"{result.bench} {OURS}/{OURS}={interval(noisiest)} pairs={noisiest.num_pairs} {result.verdict}"
    return [f"{result.bench}: {said}{'' if result.took_s is None else f'; {result.took_s:.0f} s'}", last]


def failures(case: CaseResult) -> list[str]:
    """A line for a check or side-car that failed, and for each count out of its bounds."""
    failed = [] if case.failure is None else [case.failure.splitlines()[0]]
    return failed + [f"{count.name}={bounded(count)}" for count in case.counts if not count.holds]


def _noise(itself: Ratio) -> str:
    """Of ours over ours: whether it took the time of itself, and what its interval leaves to be seen."""
    if not itself.is_one:
        return "more than 3 % off, twice: this machine is too busy to judge"
    return "OK" if itself.half_width <= MAX_SELF_DIFFERENCE else f"OK, but a difference of less than {itself.half_width:.0%} cannot be told"


def _quiet(itself: Ratio) -> str:
    if not itself.is_one:
        return "this machine is too busy to judge: a thing took 3 % more or less time than itself, twice"
    if itself.half_width > MAX_SELF_DIFFERENCE:
        return f"right now a difference of less than {itself.half_width:.0%} cannot be told on this machine; it is to do nothing else"
    return f"this machine is quiet enough: a difference of {MAX_SELF_DIFFERENCE:.0%} can be told"


def hardest_goal(result: BenchResult) -> tuple[CaseResult, PeerResult] | None:
    """The goal with the worst verdict, of these the one that is farthest from being reached; None where there is none."""
    judged = [(case, peer) for case in result.cases for peer in case.peers if peer.goal is not None]
    return min(judged, key=lambda each: difficulty(each[1]), default=None)


def difficulty(peer: PeerResult) -> tuple[int, float]:
    """The lower, the harder: by verdict, then by how far the goal is from being reached."""
    return -SEVERITY.index(peer.verdict), peer.margin


def tally(result: BenchResult) -> str:
    """``7 of 9 goals reached (1 within noise), 1 missed, 1 not judged; 2 of them own limits; 12 of 12 counts hold``."""
    peers = [peer for case in result.cases for peer in case.peers if peer.goal is not None]
    counts = [count for case in result.cases for count in case.counts if count.is_bounded]
    by_verdict = Counter(peer.verdict for peer in peers)
    within = sum(peer.is_within_noise for peer in peers)
    parts = []
    if peers:
        parts.append(f"{by_verdict[Verdict.OK]} of {len(peers)} goals reached{f' ({within} within noise)' if within else ''}")
    parts += [f"{by_verdict[verdict]} {verdict.lower()}" for verdict in (Verdict.MISSED, Verdict.NOT_JUDGED) if by_verdict[verdict]]
    failed = sum(case.failure is not None for case in result.cases)
    parts += [f"{failed} case{'s' if failed > 1 else ''} failed"] if failed else []
    limits = sum(peer.is_limit for peer in peers)
    own = [f"{limits} of them own limits"] if limits else []
    held = [f"{sum(count.holds for count in counts)} of {len(counts)} counts hold"] if counts else []
    return "; ".join([*([", ".join(parts)] if parts else []), *own, *held]) or "nothing is judged"


def change(result: BenchResult) -> str:
    """Which rate of the machine changed most during the run, and by how much."""
    return f"{result.drifting} by {result.drift:.0%}"


def _floor(case: CaseResult) -> str:
    return "" if case.floor is None else f" floor={case.floor:.2f}"


def _peer(result: PeerResult, floor: str, verdict: Verdict) -> str:
    goal = "" if result.goal is None else f" {'limit' if result.is_limit else 'goal'}>={result.goal:.3g}"
    if result.ratio is None:
        return f"{OURS}/{result.peer}{goal}{floor} {verdict}: the peer is not there (make bench-peers)"
    said = "" if result.goal is None else f" {verdict}"
    return f"{OURS}/{result.peer}={interval(result.ratio)}{goal}{floor} pairs={result.ratio.num_pairs}{said}"


def interval(ratio: Ratio) -> str:
    """Median and 95 % interval."""
    return f"{number(ratio.median)}x [{number(ratio.low)},{number(ratio.high)}]"


def number(value: float) -> str:
    """Two decimals below 10, one below 100, none above; below 0.1 as many as two digits take."""
    if value < 0.0995:
        return f"{value:.2g}"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _count(count: Count) -> str:
    return f"{count.name}={bounded(count)} {'OK' if count.holds else Verdict.FAILED}"


def bounded(count: Count) -> str:
    """The value, its unit, its bounds."""
    low = "" if count.at_least is None else f" >={count.at_least:,.6g}"
    high = "" if count.at_most is None else f" <={count.at_most:,.6g}"
    return f"{count.value:,.6g}{count.unit and ' ' + count.unit}{low}{high}"
