"""From character spans to labels: which tokens lie in a span, and the shift."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING

from twinkle.core.types import IGNORE_INDEX

if TYPE_CHECKING:
    from tokenizers import Encoding

Span = tuple[int, int]
"""A half-open range of characters, or of tokens."""


def token_spans(encoding: Encoding, spans: Iterable[Span]) -> list[Span]:
    """The tokens whose characters lie wholly inside each of ``spans`` (ascending, disjoint).

    A token that straddles a border is left out: at inference the border is where the prompt ends, and that token does not exist there.
    One without width belongs to what follows it. The tokens of one multi-byte character share its offsets, so that they go together.
    The offsets ascend, so each border is a binary search; the list of all offsets is never made.
    """
    tokens = range(len(encoding))

    def start(token: int) -> int:
        return encoding.token_to_chars(token)[0]  # type: ignore[index, no-any-return, unused-ignore]

    def end(token: int) -> int:
        return encoding.token_to_chars(token)[1]  # type: ignore[index, no-any-return, unused-ignore]

    inside = []
    at = 0
    for span_start, span_end in spans:
        first = bisect_left(tokens, span_start, lo=at, key=start)
        at = bisect_right(tokens, span_end, lo=first, key=end)
        while at > first and start(at - 1) >= span_end:
            at -= 1
        if first < at:
            inside.append((first, at))
    return inside


def shifted_labels(ids: list[int], trained: Iterable[Span]) -> list[int]:
    """``labels[i] = ids[i + 1]`` where token i + 1 is trained, else -100; the last is always -100.

    ``trained`` are token ranges; they may reach beyond ``ids``, as after truncation.
    """
    length = len(ids)
    labels = [IGNORE_INDEX] * length
    for first, end in trained:
        first, end = max(first, 1), min(end, length)
        if first < end:
            labels[first - 1 : end - 1] = ids[first:end]
    return labels
