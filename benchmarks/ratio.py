"""How many times as fast: pairs of runs in the order ABBA, the median of their ratios, and a bootstrap interval of that median."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.bench import NUM_WARM_UPS, Variant

MIN_SAMPLE_S = 0.02
"""A sample is the mean of as many calls as fill this time, so that the clock and one interrupt weigh little in it."""
MAX_CALLS = 1_000
NUM_RESAMPLES = 2_000
MAX_SELF_DIFFERENCE = 0.03
"""How far the median of ours over ours may be from one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """Time of the peer over time of ours: above one, ours is faster."""

    median: float
    low: float
    """Lower end of the 95 % interval of the median."""
    high: float
    quartiles: tuple[float, float]
    num_pairs: int
    ours_s: float
    """Median seconds of one call of ours in these pairs."""

    @property
    def is_one(self) -> bool:
        """Whether a thing took the time of itself."""
        return abs(self.median - 1) <= MAX_SELF_DIFFERENCE

    @property
    def half_width(self) -> float:
        """How far the interval reaches from one: of ours over ours, the smallest difference that these pairs can show."""
        return max(self.high - 1, 1 - self.low)


@dataclass(frozen=True, slots=True)
class Side:
    """A variant and the number of its calls that make a sample."""

    variant: Variant
    num_calls: int

    @classmethod
    def warmed_up(cls, variant: Variant) -> Side:
        """After :data:`NUM_WARM_UPS` calls, the last of which tells how long one takes, preparations that it does not count included."""
        for _ in range(NUM_WARM_UPS):
            start = time.perf_counter()
            seconds = max(variant(), time.perf_counter() - start)
        return cls(variant, num_calls=min(MAX_CALLS, math.ceil(MIN_SAMPLE_S / seconds)))

    def sample_s(self) -> float:
        """Seconds of one call."""
        return sum(self.variant() for _ in range(self.num_calls)) / self.num_calls


def ratio_of(ours: Side, peer: Side, num_pairs: int) -> Ratio:
    """``num_pairs`` pairs, each of which runs both, in turns ours first and the peer first."""
    times = [_pair_s(ours, peer, ours_first=number % 2 == 0) for number in range(num_pairs)]
    return summary([peer_s / ours_s for ours_s, peer_s in times], ours_s=statistics.median(ours_s for ours_s, _ in times))


def _pair_s(ours: Side, peer: Side, *, ours_first: bool) -> tuple[float, float]:
    if ours_first:
        ours_s = ours.sample_s()
        return ours_s, peer.sample_s()
    peer_s = peer.sample_s()
    return ours.sample_s(), peer_s


def summary(ratios: Sequence[float], *, ours_s: float) -> Ratio:
    """Median, quartiles, and the 95 % interval of the median by the percentile bootstrap (Efron 1979), with a fixed seed.

    Where the order within a pair matters, ratios come in two groups and the interval is wider than it need be: of ways to do without (by
    blocks, by groups) each covers the true ratio less often with ten pairs.
    """
    found = np.asarray(ratios)
    resampled = np.random.default_rng(0).choice(found, size=(NUM_RESAMPLES, len(found)))
    low, high = np.percentile(np.median(resampled, axis=1), [2.5, 97.5])
    first, median, third = np.percentile(found, [25, 50, 75])
    return Ratio(
        median=float(median),
        low=float(low),
        high=float(high),
        quartiles=(float(first), float(third)),
        num_pairs=len(found),
        ours_s=ours_s,
    )
