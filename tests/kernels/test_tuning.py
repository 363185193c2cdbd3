"""The table of launch sizes answers for every kernel, row length and device, and prefers what was measured."""

from __future__ import annotations

import math

import pytest
import torch

from twinkle.kernels import tuning
from twinkle.kernels.tuning import TABLE, Launch, Row, launch_for


@pytest.mark.parametrize("kernel", TABLE)
def test_every_kernel_has_a_default_for_any_row(kernel: str) -> None:
    defaults = [row.up_to for row in TABLE[kernel] if row.capability is None]
    assert defaults == sorted(defaults) and defaults[-1] == math.inf


@pytest.mark.parametrize("kernel", TABLE)
def test_blocks_and_warps_are_powers_of_two(kernel: str) -> None:
    for row in TABLE[kernel]:
        assert all(size.bit_count() == 1 for size in (*row.launch.blocks.values(), row.launch.num_warps))


def test_a_measured_row_goes_before_a_default_and_the_shortest_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    short, long, hopper = (Launch(blocks={"BLOCK": size}) for size in (64, 256, 1024))
    rows = (Row(launch=short, up_to=100), Row(launch=hopper, capability=(9, 0), up_to=1000), Row(launch=long))
    monkeypatch.setattr(tuning, "TABLE", {"kernel": rows})
    assert [launch_for("kernel", size, torch.device("cpu")) for size in (100, 101)] == [short, long]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert [launch_for("kernel", size, torch.device("cuda")) for size in (100, 1000, 1001)] == [hopper, hopper, long]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert launch_for("kernel", 100, torch.device("cuda")) is short


def test_a_launch_is_the_keyword_arguments_of_a_kernel() -> None:
    assert Launch(blocks={"BLOCK": 64}, num_warps=8, num_stages=3).options == {"BLOCK": 64, "num_warps": 8, "num_stages": 3}
