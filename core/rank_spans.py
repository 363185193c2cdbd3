"""Many ranks in few letters."""

from __future__ import annotations

from collections.abc import Iterable


def rank_spans(ranks: Iterable[int]) -> str:
    """``0-3, 8`` of ``[0, 1, 2, 3, 8]``, in the order of the numbers."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
