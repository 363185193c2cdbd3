"""Rows that have what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.plugins_builtin.filter._filter import Filter
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint


@dataclass(frozen=True)
class NotEmptyFilter(Fingerprint, Filter):
    """Keeps rows in which every one of ``columns`` holds something: not None, no blank text, no empty list."""

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        given: object = self.columns
        if isinstance(given, str) or not given:
            raise InvalidArgument(f"NotEmptyFilter takes names of columns, such as ('query', 'response'); got {given!r}")
        object.__setattr__(self, "columns", tuple(self.columns))

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """True where nothing is missing."""
        for column in self.columns:
            if column not in row:
                raise InvalidData(f"NotEmptyFilter looks for the column {column!r}; the row has {', '.join(map(repr, row))}")
        return all(_holds_something(row[column]) for column in self.columns)


def _holds_something(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value not in ([], {})
