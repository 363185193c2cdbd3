"""A clock that stands still, so that what depends on time can be compared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock


@contextmanager
def still_clock() -> Iterator[None]:
    """``time.time()``, ``monotonic()`` and ``perf_counter()`` give the same number throughout the block."""
    names = ("time", "monotonic", "perf_counter")
    frozen = {name: vars(time)[name]() for name in names}
    with ExitStack() as stack:
        for name, value in frozen.items():
            stack.enter_context(mock.patch.object(time, name, return_value=value))
        yield
