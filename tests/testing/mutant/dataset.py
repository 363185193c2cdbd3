"""A data set, and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twinkle.testing import Example


class GoodDataset:
    """Rows in a list."""

    def __init__(self, rows: Any) -> None:
        self.rows = [dict(row) for row in rows]

    def map(self, preprocess_func: Any) -> None:
        self.rows = [{**row, **preprocess_func(row)} for row in self.rows]

    def set_template(self, template: Any) -> None:
        self.template = template

    def encode(self, add_generation_prompt: bool = False) -> None:
        self.rows = self.template.batch_encode(self.rows, add_generation_prompt)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


class TurnsAround(GoodDataset):
    is_mapped = False

    def map(self, preprocess_func: Any) -> None:
        self.is_mapped = True
        self.rows.insert(0, self.rows.pop())
        super().map(preprocess_func)

    def __iter__(self) -> Iterator[Any]:
        rows = list(self.rows)
        if not self.is_mapped:
            self.rows.append(self.rows.pop(0))
        return iter(rows)


class MapReplaces(GoodDataset):
    def map(self, preprocess_func: Any) -> None:
        self.rows = [dict(preprocess_func(row)) for row in self.rows]


class EncodeReplaces(GoodDataset):
    def encode(self, add_generation_prompt: bool = False) -> None:
        super().encode(add_generation_prompt)
        self.rows = [{name: row[name] for name in ("input_ids", "labels")} for row in self.rows]


EXAMPLE = Example(init={"rows": [{"text": "a b"}, {"text": "c"}, {"text": "d e f"}]})
GOOD = (GoodDataset, EXAMPLE)
MUTANTS = {
    "iterates_again": (TurnsAround, EXAMPLE),
    "map_adds_columns": (MapReplaces, EXAMPLE),
    "encode_keeps_columns": (EncodeReplaces, EXAMPLE),
}
