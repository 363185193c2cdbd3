"""The base of preprocessors: authors write ``preprocess(row)``, callers may pass a row or a batch of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinkle.core.errors import InvalidData


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """``{column: [value, ...]}`` as one mapping a row."""
    names = list(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows as ``{column: [value, ...]}``; None where a row lacks a column that another one has."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


class Preprocessor:
    """Turns a raw row into a trajectory. Subclasses write :meth:`preprocess`, or a ``__call__`` of one row.

    Called with a row it returns a row; called with a batch of columns (every value a list, all of one length) it returns columns.
    """

    def preprocess(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The columns that ``row`` gets; ``row`` itself stays as it is."""
        raise NotImplementedError(f"{type(self).__name__} must define preprocess(row)")

    def __call__(self, rows: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _is_batch(rows):
            return self.preprocess(rows)
        return columns_of([self.preprocess(row) for row in rows_of(rows)])

    @staticmethod
    def map_col_to_row(rows: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """Columns to rows."""
        return rows_of(rows)

    @staticmethod
    def map_row_to_col(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        """Rows to columns."""
        return columns_of(rows)


def _is_batch(rows: Mapping[str, Any]) -> bool:
    values = list(rows.values())
    return bool(values) and all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1


def text_of(row: Mapping[str, Any], column: str, owner: object) -> str:
    """The text in ``column``.

    Raises:
        InvalidData: there is no such column, or it does not hold text.
    """
    name = type(owner).__name__
    if column not in row:
        raise InvalidData(f"{name} needs the column {column!r}; the row has {', '.join(map(repr, row))}")
    value = row[column]
    if not isinstance(value, str):
        raise InvalidData(f"{name} needs text in the column {column!r}, got {type(value).__name__}: {value!r}")
    return value
