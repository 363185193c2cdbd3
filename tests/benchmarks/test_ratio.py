"""Ratios of made-up variants, which say how long they took without taking it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import cycle

import pytest

from benchmarks.ratio import MIN_SAMPLE_S, Side, ratio_of, summary


def takes(*seconds: float) -> Callable[[], float]:
    """A variant that says that it took these times, over and over."""
    times = cycle(seconds)
    return lambda: next(times)


def side(variant: Callable[[], float]) -> Side:
    return Side(variant, num_calls=1)


def test_a_peer_of_twice_the_time_has_ratio_two() -> None:
    found = ratio_of(side(takes(1.0)), side(takes(2.0)), num_pairs=10)
    assert (found.median, found.low, found.high, found.num_pairs, found.ours_s) == (2.0, 2.0, 2.0, 10, 1.0)


def test_the_time_of_ours_is_the_median_of_its_samples() -> None:
    assert ratio_of(side(takes(1.0, 2.0, 9.0)), side(takes(1.0)), num_pairs=3).ours_s == 2.0


def test_pairs_run_in_the_order_abba() -> None:
    order = []

    def named(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return 1.0

        return run

    ratio_of(side(named("A")), side(named("B")), num_pairs=4)
    assert "".join(order) == "ABBAABBA"


def test_a_steady_drift_cancels_within_pairs_of_both_orders() -> None:
    """Each run takes 10 % longer than the one before: ratios are 1.1 and 1 / 1.1 in turns, and the median of many is one."""
    clock = [1.0]

    def slower_each_time() -> float:
        clock[0] *= 1.1
        return clock[0]

    found = ratio_of(side(slower_each_time), side(slower_each_time), num_pairs=10)
    assert found.median == pytest.approx((1.1 + 1 / 1.1) / 2)


def test_one_wild_pair_moves_neither_median_nor_interval_far() -> None:
    found = summary([2.0] * 9 + [40.0], ours_s=1.0)
    assert (found.median, found.low) == (2.0, 2.0)
    assert found.high < 3.0


def test_the_interval_is_that_of_the_order_statistics() -> None:
    """Of 30 values the 95 % interval of the median lies near the 10th and the 21st (binomial with p = 1/2: 15 plus or minus 5.4)."""
    found = summary([float(i) for i in range(1, 31)], ours_s=1.0)
    assert found.median == 15.5
    assert found.quartiles == (8.25, 22.75)
    assert found.low == pytest.approx(10, abs=1.5)
    assert found.high == pytest.approx(21, abs=1.5)


@pytest.mark.parametrize(
    ("seconds", "num_calls"), [(1.0, 1), (MIN_SAMPLE_S, 1), (MIN_SAMPLE_S / 4, 4), (MIN_SAMPLE_S / 2.5, 3), (1e-9, 1_000)]
)
def test_short_calls_are_repeated_until_they_make_a_sample(seconds: float, num_calls: int) -> None:
    assert Side.warmed_up(takes(seconds)).num_calls == num_calls


def test_preparations_that_a_variant_does_not_count_are_not_repeated_without_end() -> None:
    def prepares() -> float:
        time.sleep(0.005)
        return 1e-6

    assert Side.warmed_up(prepares).num_calls <= 4


def test_a_sample_is_the_mean_of_its_calls() -> None:
    assert Side(takes(1.0, 2.0, 6.0), num_calls=3).sample_s() == 3.0


@pytest.mark.parametrize(("ratios", "is_one"), [([1.029], True), ([0.971], True), ([1.031], False), ([0.969], False)])
def test_a_ratio_is_one_within_three_percent(ratios: Iterable[float], is_one: bool) -> None:
    assert summary(list(ratios), ours_s=1.0).is_one is is_one
