"""What becomes of a sample that is longer than allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from twinkle.core.errors import InvalidData
from twinkle.plugins_builtin.template._label import Span

TruncationStrategy = Literal["raise", "left", "right", "split", "delete"]
Piece = tuple[list[int], list[Span]]
"""Token ids and the trained ranges in them; ranges may reach beyond the ids."""


def _refused(ids: list[int], trained: list[Span], max_length: int) -> list[Piece]:
    raise InvalidData(
        f"{len(ids)} tokens are more than max_length={max_length}: shorten it, raise max_length, or choose "
        "truncation_strategy='left', 'right', 'split' or 'delete'"
    )


def _first(ids: list[int], trained: list[Span], max_length: int) -> list[Piece]:
    return [(ids[:max_length], trained)]


def _from(begin: int, ids: list[int], trained: list[Span], max_length: int) -> Piece:
    return ids[begin : begin + max_length], [(first - begin, end - begin) for first, end in trained]


def _last(ids: list[int], trained: list[Span], max_length: int) -> list[Piece]:
    return [_from(len(ids) - max_length, ids, trained, max_length)]


def _all(ids: list[int], trained: list[Span], max_length: int) -> list[Piece]:
    return [_from(begin, ids, trained, max_length) for begin in range(0, len(ids), max_length)]


def _none(ids: list[int], trained: list[Span], max_length: int) -> list[Piece]:
    return []


STRATEGIES: dict[str, Callable[[list[int], list[Span], int], list[Piece]]] = {
    "raise": _refused,
    "left": _last,
    "right": _first,
    "split": _all,
    "delete": _none,
}
"""By name. A token is cut off before the shift, so that no label points at it or, around the end, at the first token."""
