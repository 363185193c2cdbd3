"""Rows of a wanted length."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.plugins_builtin.filter._filter import Filter
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint


@dataclass(frozen=True)
class LengthFilter(Fingerprint, Filter):
    """Keeps rows with ``min_length <= len(row[column]) <= max_length``: tokens after ``encode()``, characters of a text, messages ..."""

    max_length: int | None = None
    """None is no bound."""
    min_length: int = 0
    column: str = "input_ids"

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < self.min_length:
            raise InvalidArgument(f"LengthFilter keeps nothing: max_length {self.max_length} is below min_length {self.min_length}")

    def __call__(self, row: Mapping[str, Any]) -> bool:
        """True where the length is within the bounds."""
        value = row.get(self.column)
        if not isinstance(value, Sized):
            hint = "; call encode() first" if self.column == "input_ids" and self.column not in row else ""
            has = ", ".join(map(repr, row))
            raise InvalidData(f"LengthFilter needs a text or a list in the column {self.column!r}; the row has {has}{hint}")
        return self.min_length <= len(value) and (self.max_length is None or len(value) <= self.max_length)
