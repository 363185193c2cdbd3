"""The order of a stream, shuffled through a buffer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

import numpy as np

BUFFER_ROWS = 1000
"""Rows among which the next one is drawn."""

T = TypeVar("T")


def shuffle_stream(rows: Iterator[T], seed: int, epoch: int) -> Iterator[T]:
    """Each row once, each drawn from a buffer of the next :data:`BUFFER_ROWS`: a pure function of rows, seed and epoch."""
    draws = np.random.Generator(np.random.PCG64((seed, epoch)))
    buffer = list(islice(rows, BUFFER_ROWS))
    for row in rows:
        place = int(draws.integers(len(buffer)))
        drawn, buffer[place] = buffer[place], row
        yield drawn
    yield from (buffer[place] for place in draws.permutation(len(buffer)))
