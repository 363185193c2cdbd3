"""Rows of an encoded data set joined into sequences, from views of its Arrow columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def join_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One sequence of encoded ``rows``: lists and arrays one after the other, of anything else a list of values."""
    return with_positions({column: _joined([row[column] for row in rows]) for column in rows[0]}, [len(row["input_ids"]) for row in rows])


def with_positions(sequence: dict[str, Any], lengths: Sequence[int]) -> dict[str, Any]:
    """``sequence`` with positions that start at 0 in each sample, where the template gave none: so a packed sequence is recognised."""
    if "position_ids" in sequence:
        return sequence
    return {**sequence, "position_ids": np.concatenate([np.arange(length) for length in lengths])}


def _joined(values: Sequence[Any]) -> Any:
    if all(isinstance(value, np.ndarray) for value in values):
        return np.concatenate(values)
    if all(isinstance(value, list) for value in values):
        if all(value and isinstance(value[0], int) for value in values):
            return np.concatenate([np.asarray(value) for value in values])
        return [item for value in values for item in value]
    return list(values)


class NumberColumn:
    """A column of lists of numbers: each row a view of what Arrow holds, in memory or in a file."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._first_rows = np.cumsum([0, *(len(chunk) for chunk in chunks)]).tolist()
        self._offsets = [chunk.offsets.to_numpy().tolist() for chunk in chunks]
        self._values: list[NDArray[Any]] = [chunk.values.to_numpy() for chunk in chunks]

    def __getitem__(self, row: int) -> NDArray[Any]:
        chunk = bisect_right(self._first_rows, row) - 1
        place = row - self._first_rows[chunk]
        start, end = self._offsets[chunk][place : place + 2]
        return self._values[chunk][start:end]

    def join(self, rows: Sequence[int]) -> NDArray[Any]:
        """The numbers of ``rows`` one after the other."""
        return np.concatenate([self[row] for row in rows])


def _can_view(column: pa.ChunkedArray) -> bool:
    """Whether :class:`NumberColumn` can show ``column``: lists of numbers, none of them missing."""
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    is_number = is_list and (pa.types.is_integer(column.type.value_type) or pa.types.is_floating(column.type.value_type))
    return bool(is_number and all(chunk.null_count == 0 and chunk.values.null_count == 0 for chunk in column.chunks))


class PackedRows:
    """Sequences of an encoded ``datasets.Dataset`` whose rows lie as they come (no selection on top of its table)."""

    def __init__(self, rows: Any) -> None:
        table = rows.data
        columns = {name: table.column(name) for name in rows.column_names}
        self._numbers = {name: NumberColumn(column) for name, column in columns.items() if _can_view(column)}
        others = [name for name in rows.column_names if name not in self._numbers]
        self._others = rows.select_columns(others) if others else None

    def sequences(self, bins: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """One joined row for the row numbers of each of ``bins``."""
        ids = self._numbers["input_ids"]
        joined: list[dict[str, Any]] = [{name: column.join(rows) for name, column in self._numbers.items()} for rows in bins]
        if self._others is not None:
            fetched = iter(self._others.__getitems__([row for rows in bins for row in rows]))
            for sequence, rows in zip(joined, bins, strict=True):
                others = [next(fetched) for _ in rows]
                sequence |= {column: _joined([row[column] for row in others]) for column in others[0]}
        return [with_positions(sequence, [len(ids[row]) for row in rows]) for sequence, rows in zip(joined, bins, strict=True)]
