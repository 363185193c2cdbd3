"""One thread for models too small to share out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside the block torch computes in the calling thread alone.

    Handing a tiny product to a second thread costs more than the product, on a busy machine twenty times as much; and sums of floats
    do not depend on how many cores there are.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
