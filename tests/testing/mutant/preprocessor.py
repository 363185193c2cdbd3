"""A preprocessor, and wrong ones."""

from __future__ import annotations

from typing import Any

from twinkle.testing import RowExample

ROWS = ({"text": " one "}, {"text": "two"}, {"text": ""})
EXAMPLE = RowExample(rows=ROWS)


class RowsOnly:
    """One message a row."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def preprocess(self, row: Any) -> Any:
        return {"messages": [{"role": "user", "content": self.prefix + row["text"].strip()}]}


class GoodPreprocessor(RowsOnly):
    def __call__(self, rows: Any) -> Any:
        return {"messages": [self.preprocess({"text": text})["messages"] for text in rows["text"]]}


class Pairs(GoodPreprocessor):
    def preprocess(self, row: Any) -> Any:
        return {"messages": [["user", row["text"]]]}


class SometimesMore(GoodPreprocessor):
    def preprocess(self, row: Any) -> Any:
        return {**super().preprocess(row), **({} if row["text"] else {"empty": True})}


class FirstForAll(GoodPreprocessor):
    def __call__(self, rows: Any) -> Any:
        return {"messages": [self.preprocess({"text": rows["text"][0]})["messages"] for _ in rows["text"]]}


class Strips(GoodPreprocessor):
    def preprocess(self, row: Any) -> Any:
        row["text"] = row["text"].strip()
        return super().preprocess(row)


class Remembers(RowsOnly):
    last = ""

    def preprocess(self, row: Any) -> Any:
        before, self.last = self.last, row["text"]
        return {**super().preprocess(row), "before": before}


class ForgetsItsPrefix(GoodPreprocessor):
    def __reduce__(self) -> Any:
        return type(self), ()


GOOD = (GoodPreprocessor, EXAMPLE)
MUTANTS = {
    "gives_a_trajectory": (Pairs, EXAMPLE),
    "gives_every_row_the_same_columns": (SometimesMore, EXAMPLE),
    "rows_and_columns_agree": (FirstForAll, EXAMPLE),
    "leaves_the_row": (Strips, EXAMPLE),
    "keeps_nothing_between_rows": (Remembers, EXAMPLE),
    "works_in_another_process": (ForgetsItsPrefix, RowExample(rows=EXAMPLE.rows, init={"prefix": "> "})),
}
