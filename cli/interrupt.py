"""Ctrl-C as a wish that a loop reads between two steps, so that what it saves is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class StopWish:
    """Whether somebody asked the loop to stop."""

    def __init__(self) -> None:
        self.is_made = False


@contextmanager
def stop_on_interrupt() -> Iterator[StopWish]:
    """Inside the block the first Ctrl-C makes the wish, and the second raises :class:`KeyboardInterrupt` at once.

    Outside of the main thread, where Python delivers no signals, the wish is never made.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return

    def make_wish(signum: int, frame: FrameType | None) -> None:
        wish.is_made = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, make_wish)
    try:
        yield wish
    finally:
        signal.signal(signal.SIGINT, before)
