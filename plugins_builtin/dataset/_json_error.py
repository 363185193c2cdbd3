"""Finds the first row of a JSON file that cannot be used, after a reader failed on it."""

from __future__ import annotations

import json
from pathlib import Path

from twinkle.core.errors import InvalidData


def json_error(path: Path) -> InvalidData | None:
    """The error that names file, line and reason; None where every row is an object."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.read(1)
        file.seek(0)
        if first == "[":
            return _list_error(path, file.read())
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            line = line.rstrip("\r\n")
            shown = line.strip()[:80]
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                return InvalidData(
                    f"{where} is broken JSON ({error.msg}, column {error.colno}): {shown!r}. Expected one JSON object a line"
                )
            if not isinstance(row, dict):
                return InvalidData(f'{where}: expected a JSON object such as {{"query": ...}}, got a {type(row).__name__}: {shown!r}')
    return None


def _list_error(path: Path, text: str) -> InvalidData | None:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        return InvalidData(
            f"{path}, line {error.lineno} is broken JSON ({error.msg}, column {error.colno}). Expected a list of JSON objects"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            return InvalidData(f"{path}, row {number}: expected a JSON object, got a {type(row).__name__}")
    return None
