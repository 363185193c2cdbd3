"""Runs the cases of a benchmark: check, counts, ours against itself, ours against each peer, and a verdict on each goal."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.bench import OURS, Budget, Case, Count, Size, Variant
from benchmarks.rates import Rates
from benchmarks.ratio import Ratio, Side, ratio_of
from benchmarks.result import CaseResult, PeerResult, Verdict
from benchmarks.sidecar import SideCarError

NUM_PAIRS: dict[Size, int] = {"quick": 10, "full": 30}
GATE_FACTOR = 0.75
"""What part of a goal a gate asks for."""


Doing = Callable[[str], None]
"""Told what comes next, as it may take long: ``"float32, 512 tokens: against TRL"``."""


def run_cases(
    cases: Iterable[Case],
    rates: Rates,
    *,
    num_pairs: int,
    goal_factor: float = 1.0,
    done: Callable[[CaseResult], None],
    doing: Doing = lambda _: None,
) -> list[CaseResult]:
    """Runs one case after the other and hands each result to ``done`` before the next case is set up.

    A side-car that cannot be set up ends the benchmark: a failed case stands for those that were to come.
    """
    results = []
    try:
        for case in cases:
            results.append(run_case(case, rates, num_pairs=num_pairs, goal_factor=goal_factor, doing=doing))
            done(results[-1])
    except SideCarError as error:
        results.append(CaseResult(name="cases to come", failure=f"{type(error).__name__}: {error}"))
        done(results[-1])
    return results


def run_case(case: Case, rates: Rates, *, num_pairs: int, goal_factor: float = 1.0, doing: Doing = lambda _: None) -> CaseResult:
    """Nothing is timed where the check fails. A side-car that dies ends the case; an error of any other kind is raised."""
    counts: Sequence[Count] = ()
    try:
        doing(f"{case.name}: check and counts")
        case.check()
        counts = case.counts()
        if not case.variants:
            return CaseResult(name=case.name, counts=counts)
        itself, ratios = _ratios(case.variants, num_pairs, lambda what: doing(f"{case.name}: {what}"))
    except (AssertionError, SideCarError) as error:
        return CaseResult(name=case.name, counts=counts, failure=f"{type(error).__name__}: {error}")
    floor_s = rates.floor_s(case.work)
    return CaseResult(
        name=case.name,
        counts=counts,
        itself=itself,
        peers=_judged(case, ratios, goal_factor=goal_factor, is_quiet=itself.is_one),
        floor=floor_s / itself.ours_s if floor_s else None,
        tokens_per_s=case.work.tokens / itself.ours_s if case.work.tokens else None,
    )


def _ratios(variants: Mapping[str, Variant], num_pairs: int, doing: Doing) -> tuple[Ratio, dict[str, Ratio]]:
    """Ours against itself (twice where the first time finds a difference), and against each peer."""
    doing("warm-up")
    sides = {name: Side.warmed_up(variant) for name, variant in variants.items()}
    ours = sides.pop(OURS)
    ratios = {}
    with _frozen_garbage():
        doing("against itself")
        itself = ratio_of(ours, ours, num_pairs)
        if not itself.is_one:
            itself = ratio_of(ours, ours, num_pairs)
        for name, peer in sides.items():
            doing(f"against {name}")
            ratios[name] = ratio_of(ours, peer, num_pairs)
    return itself, ratios


def _judged(case: Case, ratios: Mapping[str, Ratio], *, goal_factor: float, is_quiet: bool) -> list[PeerResult]:
    """A goal is reached where the upper end of the interval reaches it: noise alone makes no verdict."""
    by_peer = {goal.peer: goal.at_least * goal_factor for goal in case.goals}
    results = []
    for peer in [*ratios, *(peer for peer in by_peer if peer not in ratios)]:
        ratio, goal = ratios.get(peer), by_peer.get(peer)
        if goal is None:
            verdict = Verdict.OK
        elif ratio is None or not is_quiet:
            verdict = Verdict.NOT_JUDGED
        else:
            verdict = Verdict.OK if ratio.high >= goal else Verdict.MISSED
        is_limit = isinstance(case.variants.get(peer), Budget)
        results.append(PeerResult(peer=peer, ratio=ratio, goal=goal, verdict=verdict, is_limit=is_limit))
    return results


@contextmanager
def _frozen_garbage() -> Iterator[None]:
    """What is there already is not looked at by the garbage collector."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
