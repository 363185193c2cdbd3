"""docs/benchmarks.md, written from the newest result of each benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.result import BenchResult


def write_page(results: Sequence[BenchResult], path: Path) -> None:
    """Writes the page."""
    raise NotImplementedError
