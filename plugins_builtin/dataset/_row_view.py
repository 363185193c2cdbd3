"""Rows of a data set from views of its Arrow columns: one by one, or joined into sequences."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class NumberColumn:
    """A column of lists of numbers: each row a view of what Arrow holds, in memory or in a file."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._first_rows = np.cumsum([0, *(len(chunk) for chunk in chunks)]).tolist()
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._values: list[NDArray[Any]] = [chunk.values.to_numpy() for chunk in chunks]

    def __getitem__(self, row: int) -> NDArray[Any]:
        chunk = bisect_right(self._first_rows, row) - 1
        start, end = self._offsets[chunk][row - self._first_rows[chunk] :][:2]
        return self._values[chunk][start:end]


def _can_view(column: pa.ChunkedArray) -> bool:
    """Whether :class:`NumberColumn` can show ``column``: lists of numbers, none of them missing."""
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    is_number = is_list and (pa.types.is_integer(column.type.value_type) or pa.types.is_floating(column.type.value_type))
    return bool(is_number and all(chunk.null_count == 0 and chunk.values.null_count == 0 for chunk in column.chunks))


class RowView:
    """The rows of ``source`` (a ``datasets.Dataset``); lists of numbers come as arrays, copied from where Arrow holds them."""

    def __init__(self, source: Any) -> None:
        self.source = source
        columns = {name: source.data.column(name) for name in source.column_names}
        self._numbers = {name: NumberColumn(column) for name, column in columns.items() if _can_view(column)}
        others = [name for name in source.column_names if name not in self._numbers]
        self._others = source.select_columns(others) if others else None
        self._places = None if source._indices is None else source._indices.column(0).to_numpy()

    def _places_of(self, rows: Sequence[int]) -> list[int]:
        """Where the rows lie in the table, below a selection."""
        return list(rows) if self._places is None else self._places[list(rows)].tolist()

    def rows(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at ``indices``."""
        places = self._places_of(indices)
        others = [{} for _ in indices] if self._others is None else self._others.__getitems__(list(indices))
        return [
            {**other, **{name: column[place].copy() for name, column in self._numbers.items()}}
            for other, place in zip(others, places, strict=True)
        ]

    def sequences(self, bins: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """One joined row for the row numbers of each of ``bins``, as :func:`join_rows` makes it."""
        joined = []
        others = iter([] if self._others is None else self._others.__getitems__([row for rows in bins for row in rows]))
        for rows in bins:
            places = self._places_of(rows)
            sequence: dict[str, Any] = {name: np.concatenate([column[place] for place in places]) for name, column in self._numbers.items()}
            if self._others is not None:
                mine = [next(others) for _ in rows]
                sequence |= {column: _joined([row[column] for row in mine]) for column in mine[0]}
            joined.append(_with_positions(sequence, [len(self._numbers["input_ids"][place]) for place in places]))
        return joined


def join_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One sequence of encoded ``rows``: lists and arrays one after the other, of anything else a list of values.

    Positions that start at 0 in each sample, by which a packed sequence is recognised, are added where the template gave none.
    """
    return _with_positions({column: _joined([row[column] for row in rows]) for column in rows[0]}, [len(row["input_ids"]) for row in rows])


def _with_positions(sequence: dict[str, Any], lengths: Sequence[int]) -> dict[str, Any]:
    if "position_ids" in sequence:
        return sequence
    return {**sequence, "position_ids": np.concatenate([np.arange(length) for length in lengths])}


def _joined(values: Sequence[Any]) -> Any:
    if not all(isinstance(value, list) for value in values):
        return list(values)
    if all(value and isinstance(value[0], int) for value in values):
        return np.concatenate([np.asarray(value) for value in values])
    return [item for value in values for item in value]
