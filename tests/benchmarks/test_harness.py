"""Cases with made-up variants: what is judged, and what is not even timed."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from benchmarks.bench import OURS, Case, Count, Goal, Work, budget
from benchmarks.harness import run_case, run_cases
from benchmarks.rates import Rates
from benchmarks.ratio import summary
from benchmarks.report import lines
from benchmarks.result import CaseResult, Verdict
from benchmarks.sidecar import SideCarError

RATES = Rates(gemm_flops_per_s={"float32": {"small": 1e9, "large": 2e9}}, copy_bytes_per_s=1e9, tiny_op_us=1.0)


@pytest.fixture(autouse=True)
def nothing_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a case the harness goes through all objects, and unfreezes those that all tests have imported."""
    for name in ("collect", "freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, lambda: None)


def run(variants: Mapping[str, Callable[[], float]], *, goal_factor: float = 1.0, **fields: Any) -> CaseResult:
    """The result of a case whose check holds, unless ``fields`` say otherwise."""
    case = Case(**{"name": "made up", "variants": variants, "check": lambda: None, **fields})
    return run_case(case, RATES, num_pairs=10, goal_factor=goal_factor)


def twice_as_slow(goal: float, **fields: Any) -> CaseResult:
    return run({OURS: lambda: 1.0, "peer": lambda: 2.0}, goals=[Goal(peer="peer", at_least=goal)], **fields)


@pytest.mark.parametrize(("goal", "verdict", "exit_code"), [(1.5, Verdict.OK, 0), (2.0, Verdict.OK, 0), (2.1, Verdict.MISSED, 1)])
def test_a_goal_is_reached_or_missed(goal: float, verdict: Verdict, exit_code: int) -> None:
    result = twice_as_slow(goal)
    assert (result.verdict, result.verdict.exit_code) == (verdict, exit_code)


def test_a_gate_asks_for_a_part_of_the_goal() -> None:
    assert twice_as_slow(2.6).verdict == Verdict.MISSED
    assert twice_as_slow(2.6, goal_factor=0.75).verdict == Verdict.OK


def test_the_upper_end_of_the_interval_decides() -> None:
    """Ratios of 1.8 and 2.4: the median is 2.1, a goal of 2.3 is within the noise."""
    times = iter([1.8, 2.4] * 100)
    result = run({OURS: lambda: 1.0, "peer": lambda: next(times)}, goals=[Goal(peer="peer", at_least=2.3)])
    [peer] = result.peers
    assert peer.ratio is not None
    assert peer.ratio.median < 2.3 < peer.ratio.high
    assert result.verdict == Verdict.OK


def test_a_goal_inside_the_interval_is_said_to_be_within_noise() -> None:
    times = iter([1.8, 2.4] * 100)
    result = run({OURS: lambda: 1.0, "peer": lambda: next(times)}, goals=[Goal(peer="peer", at_least=2.3)])
    assert lines("bench", result)[-1].endswith(" OK within noise")
    assert lines("bench", twice_as_slow(2.0))[-1].endswith(" OK")
    assert lines("bench", twice_as_slow(2.1))[-1].endswith(" MISSED")


def test_garbage_is_frozen_after_two_warm_ups_for_as_long_as_it_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def noting(event: str) -> Callable[[], float]:
        def note() -> float:
            events.append(event)
            return 1.0

        return note

    for name in ("collect", "freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, noting(name))
    run({name: noting(name) for name in (OURS, "peer")})
    start, end = events.index("freeze"), events.index("unfreeze")
    assert Counter(events[:start]) == {OURS: 2, "peer": 2, "collect": 1} and events[start - 1] == "collect"
    assert Counter(events[start + 1 : end]) == {OURS: 2 * 10 + 10, "peer": 10}
    assert events[end:] == ["unfreeze"]


def test_what_comes_next_is_told() -> None:
    told: list[str] = []
    case = Case(name="made up", variants={OURS: lambda: 1.0, "peer": lambda: 2.0}, check=lambda: None)
    run_case(case, RATES, num_pairs=2, doing=told.append)
    assert told == [f"made up: {what}" for what in ("check and counts", "warm-up", "against itself", "against peer")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"goals": [Goal(peer="a", at_least=1), Goal(peer="a", at_least=2)]}, "one goal a peer"),
        ({"variants": {"our": lambda: 1.0}}, "'ours' is one of the variants"),
    ],
    ids=["two goals", "no ours"],
)
def test_a_case_that_cannot_be_judged_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Case(**{"name": "made up", "variants": {}, "check": lambda: None, **fields})


def test_peers_are_reported_in_the_order_of_the_case_and_absent_ones_in_that_of_the_goals() -> None:
    names = [f"peer {i}" for i in range(8)]
    result = run({OURS: lambda: 1.0, "there": lambda: 2.0}, goals=[Goal(peer=name, at_least=1) for name in names])
    assert [peer.peer for peer in result.peers] == ["there", *names]


def test_nothing_is_timed_where_the_check_fails() -> None:
    def timed() -> float:
        raise RuntimeError("timed")

    def check() -> None:
        raise AssertionError("ours is off by 3")

    result = run({OURS: timed}, check=check, counts=timed)
    assert (result.verdict, result.verdict.exit_code) == (Verdict.FAILED, 1)
    assert lines("bench", result) == ["bench/made up FAILED: AssertionError: ours is off by 3"]


def test_a_side_car_that_dies_is_a_failure_of_its_case_alone() -> None:
    def dies() -> float:
        raise SideCarError("side-car trl died in step with -9")

    cases = [
        Case(name="first", variants={OURS: lambda: 1.0, "peer": dies}, check=lambda: None),
        Case(name="second", variants={OURS: lambda: 1.0}, check=lambda: None),
    ]
    first, second = run_cases(cases, RATES, num_pairs=2, done=lambda result: None)
    assert (first.verdict, second.verdict) == (Verdict.FAILED, Verdict.OK)
    assert "died in step with -9" in str(first.failure)


def test_an_error_of_the_case_itself_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        run({OURS: lambda: 1 / 0})


class Noisy:
    """Ours, which in runs against itself (20 a try, after 2 to warm up) differs by 10 % in the first ``num_tries`` of them."""

    def __init__(self, num_tries: int) -> None:
        self._num_noisy = 2 + 20 * num_tries
        self._num_calls = 0

    def __call__(self) -> float:
        self._num_calls += 1
        place = (self._num_calls - 3) % 4  # A B B A
        return 1.1 if self._num_calls <= self._num_noisy and place in {1, 2} else 1.0


def test_a_wide_interval_of_ours_over_itself_is_not_called_ok_alone() -> None:
    itself = summary([0.92, 1.08] * 5, ours_s=0.1)
    [line] = lines("bench", CaseResult(name="made up", itself=itself))
    assert line.endswith("pairs=10 OK, but a difference of less than 8% cannot be told")


def test_noise_that_goes_away_is_forgiven_once() -> None:
    assert run({OURS: Noisy(1), "peer": lambda: 2.0}, goals=[Goal(peer="peer", at_least=2)]).verdict == Verdict.OK


def test_noise_that_stays_is_not_judged() -> None:
    result = run({OURS: Noisy(2), "peer": lambda: 2.0}, goals=[Goal(peer="peer", at_least=5)])
    assert (result.verdict, result.verdict.exit_code) == (Verdict.NOT_JUDGED, 3)
    assert [line.rpartition(" pairs=10 ")[2] for line in lines("bench", result)] == [
        "more than 3 % off, twice: this machine is too busy to judge",
        "NOT JUDGED",
    ]


def test_noise_does_not_excuse_a_count() -> None:
    assert run({OURS: Noisy(2)}, counts=lambda: [Count(name="calls", value=2, at_most=1)]).verdict == Verdict.FAILED


def test_a_peer_that_is_not_installed_is_not_judged() -> None:
    result = run({OURS: lambda: 1.0}, goals=[Goal(peer="trl", at_least=3)])
    assert result.verdict == Verdict.NOT_JUDGED
    assert lines("bench", result)[-1] == "bench/made up ours/trl goal>=3 NOT JUDGED: the peer is not there (make bench-peers)"


def test_a_peer_without_a_goal_is_reported_and_not_judged_on() -> None:
    result = run({OURS: lambda: 1.0, "peer": lambda: 0.1})
    assert result.verdict == Verdict.OK
    assert lines("bench", result)[-1] == "bench/made up ours/peer=0.10x [0.10,0.10] pairs=10"


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [({"at_most": 5}, Verdict.OK), ({"at_most": 4}, Verdict.FAILED), ({"at_least": 6}, Verdict.FAILED), ({}, Verdict.OK)],
)
def test_counts_are_judged_without_any_timing(bounds: dict[str, float], verdict: Verdict) -> None:
    result = run({}, counts=lambda: [Count(name="encode calls", value=5, **bounds)])
    assert (result.verdict, result.itself) == (verdict, None)


def test_the_line_says_ratio_goal_floor_pairs_and_verdict() -> None:
    """2e9 operations at the better rate of 2e9 a second, and 5e8 bytes at 1e9: 1.5 s of the 3 s that ours takes."""
    work = Work(gemm_flops={"float32": 2e9}, moved_bytes=5e8, tokens=30)
    result = run({OURS: lambda: 3.0, "peer": lambda: 7.23}, work=work, goals=[Goal(peer="peer", at_least=2)])
    assert lines("bench", result)[-1] == "bench/made up ours/peer=2.41x [2.41,2.41] goal>=2 floor=0.50 pairs=10 OK"
    assert result.tokens_per_s == 10


def test_a_time_can_be_a_goal() -> None:
    ours_s = 0.08
    budgets = {"0.1 s": budget(0.1), "0.05 s": budget(0.05)}
    goals = [Goal(peer=name, at_least=1) for name in budgets]
    result = run({OURS: lambda: ours_s, **budgets}, goals=goals)
    assert [(peer.verdict, peer.is_limit) for peer in result.peers] == [(Verdict.OK, True), (Verdict.MISSED, True)]
    assert lines("bench", result)[-1] == "bench/made up ours/0.05 s=0.62x [0.62,0.62] limit>=1 pairs=10 MISSED"


def test_an_allowance_is_a_limit_too_and_a_program_is_none() -> None:
    result = run({OURS: lambda: 1.0, "a bit more": budget(0.5, on_top_of=lambda: 1.0), "peer": lambda: 2.0})
    assert [(peer.peer, peer.is_limit, peer.ratio and peer.ratio.median) for peer in result.peers] == [
        ("a bit more", True, 1.5),
        ("peer", False, 2.0),
    ]


def test_a_case_is_taken_down_before_the_next_is_set_up() -> None:
    events = []

    def cases() -> Iterator[Case]:
        for name in ("a", "b"):
            events.append(f"set up {name}")
            yield Case(name=name, variants={}, check=lambda name=name: events.append(f"check {name}"))
            events.append(f"take down {name}")

    run_cases(cases(), RATES, num_pairs=1, done=lambda result: events.append(f"show {result.name}"))
    assert events == [f"{what} {name}" for name in "ab" for what in ("set up", "check", "show", "take down")]


def test_a_side_car_that_cannot_be_set_up_loses_none_of_the_cases_before() -> None:
    def cases() -> Iterator[Case]:
        yield Case(name="first", variants={OURS: lambda: 1.0}, check=lambda: None)
        raise SideCarError("side-car trl died in setup with 1")

    shown: list[CaseResult] = []
    found = run_cases(cases(), RATES, num_pairs=2, done=shown.append)
    assert found == shown
    assert [(case.name, case.verdict) for case in found] == [("first", Verdict.OK), ("cases to come", Verdict.FAILED)]


@pytest.mark.parametrize(
    ("changed", "small", "copy", "tiny"),
    [("float32 product, small", 1.25, 0.9, 1.0), ("copy", 1.0, 0.8, 1.1), ("tiny operation", 0.9, 1.0, 1.25)],
    ids=["product", "copy", "tiny"],
)
def test_rates_drift_by_the_one_that_changed_most(changed: str, small: float, copy: float, tiny: float) -> None:
    later = Rates(gemm_flops_per_s={"float32": {"small": small * 1e9, "large": 2e9}}, copy_bytes_per_s=copy * 1e9, tiny_op_us=tiny)
    for name, change in (RATES.drift(later), later.drift(RATES)):
        assert name == changed
        assert change == pytest.approx(0.25)
