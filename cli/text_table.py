"""Columns of text that are never cut: a name in a log can be searched and copied."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text


def print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints ``rows`` under ``header``, each column as wide as its longest cell; the first column is bold."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for number, row in enumerate((header, *rows)):
        line = Text()
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            style = "dim" if number == 0 else "bold" if column == 0 else ""
            line.append(cell.ljust(width) + "  ", style=style)
        line.rstrip()
        console.print(line, soft_wrap=True)
