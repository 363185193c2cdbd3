"""Connections that the services' SDKs leave to the garbage collector."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_connections_closed() -> Iterator[None]:
    """What is left open inside the block is closed at its end, without a warning in whatever runs then.

    The collection goes through nothing older than the block: what a test process has imported takes most of a second.
    """
    gc.freeze()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        gc.unfreeze()
