"""An independent construction of ids and labels: pieces of text, each encoded by itself, each trained or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Piece = tuple[str, bool]
"""A text that no token reaches out of, and whether it is trained."""


def ids_and_labels(pieces: Iterable[Piece], encode: Callable[[str], list[int]]) -> tuple[list[int], list[int]]:
    """The ids of all pieces, and for each the id of the next token if that is trained, else -100."""
    ids: list[int] = []
    trained: list[bool] = []
    for text, is_trained in pieces:
        new = encode(text)
        ids += new
        trained += [is_trained] * len(new)
    labels = [ids[i + 1] if trained[i + 1] else -100 for i in range(len(ids) - 1)] + [-100]
    return ids, labels
