"""Rows to a file, which appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets

from twinkle.core.errors import InvalidArgument
from twinkle.core.suggestion import did_you_mean

_FORMATS = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def save_rows(rows: Iterable[Mapping[str, Any]], path: Path, format: str | None, batch_size: int) -> Path:
    """Writes ``rows`` to ``path`` through a neighbouring file, ``batch_size`` at a time.

    Raises:
        InvalidArgument: neither ``format`` nor the ending names jsonl, csv or parquet.
    """
    chosen = _FORMATS.get(path.suffix.lower()) if format is None else _FORMATS.get(f".{format}")
    if chosen is None:
        given = format or path.suffix
        raise InvalidArgument(f"save_as({str(path)!r}): unknown format {given!r}.{did_you_mean(given, set(_FORMATS.values()))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    data = datasets.Dataset.from_list([dict(row) for row in rows])
    match chosen:
        case "jsonl":
            data.to_json(str(partial), batch_size=batch_size, force_ascii=False)
        case "csv":
            data.to_csv(str(partial), batch_size=batch_size, index=False)
        case _:
            data.to_parquet(str(partial), batch_size=batch_size)
    os.replace(partial, path)
    return path
