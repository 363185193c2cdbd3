"""What a benchmark is: cases, each with variants that do the same work, a check that they do, goals for the ratios, and counts.

A module of this package that answers a question has ``cases(size)``, a generator: what stands before a ``yield`` sets a case up, what
stands after it takes it down. The harness asks for one case at a time, checks it, and only then takes times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Size = Literal["quick", "full"]
"""``quick``: 20 seconds a benchmark or less on a machine that does nothing else, 10 pairs, unless a peer takes longer than that; ``full``:
by hand, 30 pairs and the whole curve."""

Variant = Callable[[], float]
"""Does the work once and returns the seconds it took: :func:`timed` for a call of this process, a side-car's ``step`` for a peer's."""

OURS = "ours"
"""The variant that the others are compared with."""

NUM_WARM_UPS = 2
"""Calls of a variant before the first that counts."""


CANNOT_RUN_CODE = 3
"""With which a child ends that cannot run: that of what cannot be judged."""


class CannotRun(RuntimeError):
    """What the cases of a benchmark need is not there: a device, say. Raised by ``cases``; the benchmark is then not judged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """``time of peer / time of ours >= at_least``; "at most 1.1 times the time of X" is ``at_least = 1 / 1.1``."""

    peer: str
    at_least: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """A number that does not flicker (operations, bytes, calls, modules), with its bound where it has one."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether there is anything to hold."""
        return self.at_most is not None or self.at_least is not None

    @property
    def holds(self) -> bool:
        """Whether the value is within its bounds."""
        return (self.at_most is None or self.value <= self.at_most) and (self.at_least is None or self.value >= self.at_least)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What has to be done at least, for the floor: with the rates measured in the same run it gives the shortest possible time."""

    gemm_flops: Mapping[str, float] = field(default_factory=dict)
    """Floating-point operations in matrix products, by dtype: ``{"float32": 4e9}``."""
    moved_bytes: float = 0.0
    """Bytes that must be read or written besides, and cannot be fused away."""
    tokens: int = 0
    """Useful tokens, for a rate."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One question at one size."""

    name: str
    """What distinguishes it from the other cases: ``"float32, 1024 tokens"``."""
    variants: Mapping[str, Variant]
    """By name, :data:`OURS` among them; none at all where only counts matter. A peer that is not installed is missing, and its goals are
    then reported as not judged. A sample is the mean of as many calls as fill 20 ms, so each call must do the same work again."""
    check: Callable[[], None]
    """Raises AssertionError where ours does not do what the reference does. Runs before any timing."""
    goals: Sequence[Goal] = ()
    counts: Callable[[], Sequence[Count]] = tuple
    """Measured once, after the check."""
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        """Refuses what would not be judged, or not against anything."""
        peers = [goal.peer for goal in self.goals]
        if len(set(peers)) < len(peers):
            raise ValueError(f"case {self.name!r}: one goal a peer, got goals for {peers}")
        if self.variants and OURS not in self.variants:
            raise ValueError(f"case {self.name!r}: {OURS!r} is one of the variants, got {list(self.variants)}")


def timed(call: Callable[[], object]) -> Variant:
    """``call`` as a variant."""

    def run() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return run


@dataclass(frozen=True, slots=True)
class Budget:
    """A peer that is no program: a time, or a time on top of what another variant takes. Its goal is a limit that Twinkle sets itself."""

    seconds: float
    on_top_of: Variant | None = None

    def __call__(self) -> float:
        """The seconds that are allowed."""
        return self.seconds + (0.0 if self.on_top_of is None else self.on_top_of())


def budget(seconds: float, *, on_top_of: Variant | None = None) -> Budget:
    """A peer that takes exactly ``seconds``, for goals that are a time: ``Goal(peer="0.1 s", at_least=1)``. Depends on the machine.

    With ``on_top_of`` it is an allowance: that variant runs, and may be exceeded by so much. The page shows both kinds as own limits, away
    from the programs that a user would pick instead.
    """
    return Budget(seconds, on_top_of)
