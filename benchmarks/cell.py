"""Tables of the page and what stands in their cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.bench import Count
from benchmarks.report import WITHIN, bounded, interval
from benchmarks.result import BenchResult, CaseResult, PeerResult


@dataclass(frozen=True, slots=True)
class Comparison:
    """A peer, in a case, in a benchmark."""

    result: BenchResult
    case: CaseResult
    peer: PeerResult

    @property
    def ratio(self) -> str:
        """Median and interval, and whether the machine was too busy to trust them."""
        if self.peer.ratio is None:
            return "not installed"
        return interval(self.peer.ratio) + ("" if self.case.is_quiet else ", too noisy")

    @property
    def goal(self) -> str:
        """Blank where there is none."""
        return "" if self.peer.goal is None else f"{self.peer.goal:.3g}"

    @property
    def verdict(self) -> str:
        """Blank where there is no goal."""
        return "" if self.peer.goal is None else f"{self.peer.verdict}{WITHIN if self.peer.is_within_noise else ''}"


def comparisons(results: Sequence[BenchResult]) -> Iterator[Comparison]:
    """Each peer of each case, in the order of the results."""
    return (Comparison(result, case, peer) for result in results for case in result.cases for peer in case.peers)


def count_value(count: Count) -> str:
    """The value, its unit, its bounds in words."""
    return bounded(count).replace(">=", "at least ").replace("<=", "at most ")


def first_line(text: str) -> str:
    """All that fits into a cell."""
    return text.splitlines()[0]


def titled(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table under a line that says what it is of; nothing where it has no rows."""
    if rows:
        yield f"{title}:\n\n{table(head, rows)}\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
