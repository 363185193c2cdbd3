"""Memory at its peak, of calls whose need is known."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
import torch

from benchmarks.memory import peak_extra_rss, peak_live_bytes, peak_traced_bytes

MB = 1 << 20


def use(num_bytes: int) -> None:
    """Takes memory from the system, touches it and gives it back; malloc keeps what is freed now and then."""
    with mmap.mmap(-1, num_bytes) as memory:
        for page in range(0, num_bytes, mmap.PAGESIZE):
            memory[page] = 1


def test_resident_memory_is_charged_at_its_peak_and_each_time_anew() -> None:
    def call() -> None:
        use(20 * MB)
        use(30 * MB)

    for _ in range(2):
        assert peak_extra_rss(call) == pytest.approx(30 * MB, abs=3 * MB)


def test_memory_from_before_is_not_charged() -> None:
    before = np.ones(30 * MB, dtype=np.uint8)
    assert peak_extra_rss(lambda: before.sum()) < 3 * MB


def test_live_bytes_are_those_of_tensors_to_the_byte() -> None:
    def call() -> None:
        x = torch.zeros(1 << 20)  # 4 MB
        y = x + 1  # 8
        del x  # 4
        torch.cat((y, y, y))  # 16

    assert peak_live_bytes(call) == 16 * MB


def test_traced_bytes_are_those_of_python_objects() -> None:
    assert peak_traced_bytes(lambda: bytearray(5 * MB)) == pytest.approx(5 * MB, rel=0.01)
