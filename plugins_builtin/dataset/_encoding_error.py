"""Finds the first line of a text file that is not UTF-8, after a reader failed on it."""

from __future__ import annotations

from pathlib import Path

from twinkle.core.errors import InvalidData


def encoding_error(path: Path) -> InvalidData | None:
    """The error that names file, line and byte; None where every line is UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                shown = line[: error.start].decode("utf-8")[-40:]
                return InvalidData(
                    f"{path}, line {number} is not UTF-8: byte 0x{line[error.start]:02x} after {shown!r} ({error.reason}). "
                    "Save the file as UTF-8 (from Latin-1: iconv -f latin1 -t utf-8)"
                )
    return None
