"""What a benchmark does at this moment, on a line that the next replaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

CLEAR = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Progress:
    """Shown where somebody looks on: a log has the lines of the cases."""

    bench: str
    stream: TextIO

    def show(self, doing: str) -> None:
        """Replaces the line."""
        self._write(f"{CLEAR}{self.bench}/{doing} ...")

    def clear(self) -> None:
        """Takes the line away."""
        self._write(CLEAR)

    def _write(self, text: str) -> None:
        if self.stream.isatty():
            self.stream.write(text)
            self.stream.flush()
