"""A filter, and wrong ones."""

from __future__ import annotations

from typing import Any

from twinkle.testing import RowExample

ROWS = ({"text": " one "}, {"text": "two"}, {"text": "a"})
EXAMPLE = RowExample(rows=ROWS)


class GoodFilter:
    """Keeps texts with more than ``least`` letters."""

    def __init__(self, least: int = 2) -> None:
        self.least = least

    def __call__(self, row: Any) -> Any:
        return len(row["text"].strip()) > self.least


class Counts(GoodFilter):
    def __call__(self, row: Any) -> Any:
        return int(super().__call__(row))


class KeepsAll(GoodFilter):
    def __call__(self, row: Any) -> Any:
        return bool(row)


class Strips(GoodFilter):
    def __call__(self, row: Any) -> Any:
        row["text"] = row["text"].strip()
        return super().__call__(row)


class NoDuplicates(GoodFilter):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __call__(self, row: Any) -> Any:
        is_new = row["text"] not in self.seen
        self.seen.add(row["text"])
        return is_new and super().__call__(row)


class ForgetsItsLimit(GoodFilter):
    def __reduce__(self) -> Any:
        return type(self), ()


GOOD = (GoodFilter, EXAMPLE)
MUTANTS = {
    "says_yes_or_no": (Counts, EXAMPLE),
    "keeps_some_and_drops_some": (KeepsAll, EXAMPLE),
    "leaves_the_row": (Strips, EXAMPLE),
    "keeps_nothing_between_rows": (NoDuplicates, EXAMPLE),
    "works_in_another_process": (ForgetsItsLimit, RowExample(rows=({"text": "twelve letters"}, {"text": "two"}), init={"least": 5})),
}
