"""Ctrl-C and a polite kill end a benchmark the same way: as a KeyboardInterrupt, once, so that what was set up is taken down."""

from __future__ import annotations

import signal
from types import FrameType

EXIT_CODE = 130
"""As of a shell whose command was stopped by Ctrl-C."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_by_interrupt() -> None:
    """From now on the first of these signals raises KeyboardInterrupt in this process, and further ones do not disturb its end."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
