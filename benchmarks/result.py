"""What a benchmark found, as it is printed, stored and judged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.bench import Count, Size
from benchmarks.rates import Rates
from benchmarks.ratio import Ratio


class Verdict(StrEnum):
    """Of a goal, a case, or a whole run. The worst of the parts is that of the whole; later members are worse."""

    OK = "OK"
    NOT_JUDGED = "NOT JUDGED"
    MISSED = "MISSED"
    FAILED = "FAILED"

    @property
    def exit_code(self) -> int:
        """Of a command that ends with this; 2 is left to wrong calls, as everywhere."""
        return {Verdict.OK: 0, Verdict.NOT_JUDGED: 3, Verdict.MISSED: 1, Verdict.FAILED: 1}[self]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """OK where there is none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.OK)


class ResultsError(ValueError):
    """A file of results has a line that is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerResult:
    """Ours against one peer."""

    peer: str
    ratio: Ratio | None
    """None: the peer is not installed."""
    goal: float | None
    verdict: Verdict
    is_limit: bool = False
    """The peer is no program but a time or an allowance, so that the goal is a limit that Twinkle sets itself."""

    @property
    def is_within_noise(self) -> bool:
        """Whether the goal lies inside the interval: not missed, and not shown to be reached either."""
        return self.verdict == Verdict.OK and self.ratio is not None and self.goal is not None and self.ratio.low < self.goal

    @property
    def margin(self) -> float:
        """How many times the goal the best that the interval allows is; without a goal, or a peer, it cannot be told."""
        return math.inf if self.ratio is None or self.goal is None else self.ratio.high / self.goal


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """One case. After a failed check there are neither counts nor peers."""

    name: str
    failure: str | None = None
    """What the check or a side-car said."""
    counts: Sequence[Count] = ()
    itself: Ratio | None = None
    """Ours against ours."""
    peers: Sequence[PeerResult] = ()
    floor: float | None = None
    """The shortest possible time over ours: 1 cannot be beaten. None: the case names no work."""
    tokens_per_s: float | None = None

    @property
    def is_quiet(self) -> bool:
        """Whether ours took the time of ours, so that its other ratios mean something."""
        return self.itself is None or self.itself.is_one

    @property
    def own_verdict(self) -> Verdict:
        """Of the check and the counts."""
        return Verdict.OK if self.failure is None and all(count.holds for count in self.counts) else Verdict.FAILED

    @property
    def verdict(self) -> Verdict:
        """Of the check, the counts, the quiet of the machine and the goals."""
        noise = Verdict.OK if self.is_quiet else Verdict.NOT_JUDGED
        return worst([self.own_verdict, noise, *(peer.verdict for peer in self.peers)])


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchResult:
    """One run of one benchmark."""

    bench: str
    size: Size
    when: str
    """UTC, ISO 8601."""
    command: str
    commit: str
    machine: Mapping[str, str]
    rates: Rates
    """At the start."""
    drift: float
    """The largest relative change of a rate until the end."""
    noisy: bool
    """Whether the rates changed too much in the second attempt too."""
    cases: Sequence[CaseResult]
    took_s: float | None = None
    """Seconds from the first calibration to the last, the setting up of cases included."""
    drifting: str = "one"
    """The rate that changed by ``drift``."""

    @property
    def verdict(self) -> Verdict:
        """Of its worst case."""
        return worst(case.verdict for case in self.cases)

    @property
    def num_pairs(self) -> int | None:
        """Pairs behind each ratio; None where nothing was timed."""
        return min((case.itself.num_pairs for case in self.cases if case.itself is not None), default=None)

    def to_json(self) -> str:
        """One line, the verdict first."""
        return json.dumps({"verdict": self.verdict, **asdict(self)}, allow_nan=False)


def append(result: BenchResult, path: Path) -> None:
    """Adds a line to the results in ``path``."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(result.to_json() + "\n")


def newest(path: Path, *, min_pairs: int = 0) -> list[BenchResult]:
    """The last result of each benchmark in ``path`` with that many pairs or more, by name.

    A full run is not replaced by a quick one of the same commit.

    Raises:
        ResultsError: a line is no result.
    """
    last: dict[str, BenchResult] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        result = _bench_from(line, where=f"{path}, line {number}")
        earlier = last.get(result.bench, result)
        is_part = earlier.size == "full" and result.size == "quick" and earlier.commit == result.commit
        if not is_part and (result.num_pairs is None or result.num_pairs >= min_pairs):
            last[result.bench] = result
    return [last[name] for name in sorted(last)]


def _bench_from(line: str, where: str) -> BenchResult:
    try:
        row = json.loads(line)
        row.pop("verdict", None)  # follows from the rest
        return BenchResult(**{**row, "rates": Rates(**row["rates"]), "cases": [_case_from(case) for case in row["cases"]]})
    except (ValueError, KeyError, TypeError) as error:  # cut off by a full disk, or of another version
        raise ResultsError(f"{where}: expected a result of this version of the benchmarks ({error}); delete the line") from error


def _case_from(row: dict[str, Any]) -> CaseResult:
    parts = {
        "counts": [Count(**count) for count in row["counts"]],
        "itself": _ratio_from(row["itself"]),
        "peers": [
            PeerResult(**{**peer, "ratio": _ratio_from(peer["ratio"]), "verdict": Verdict(peer["verdict"])}) for peer in row["peers"]
        ],
    }
    return CaseResult(**{**row, **parts})


def _ratio_from(row: dict[str, Any] | None) -> Ratio | None:
    return None if row is None else Ratio(**{**row, "quartiles": tuple(row["quartiles"])})
