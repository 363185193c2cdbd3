"""The checks of the packing and loading benchmark: what is packed or given otherwise is found."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pack_and_load import check_bins, check_loaders
from benchmarks.sidecar import SideCar, peer_folder

LENGTHS = np.array([5, 4, 3, 2, 1])


def test_bins_that_hold_each_length_once_pass() -> None:
    check_bins([[0], [1, 4], [2, 3]], LENGTHS, 5)


@pytest.mark.parametrize(
    ("bins", "why"),
    [
        ([[0], [1, 4], [2]], "lost"),
        ([[0], [1, 4], [2, 3], [3]], "twice"),
        ([[0, 4], [1], [2, 3]], "too full"),
    ],
)
def test_bins_that_lose_repeat_or_overflow_are_found(bins: list[list[int]], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check_bins(bins, LENGTHS, 5)


def test_a_loader_that_gives_another_number_is_found() -> None:
    batches = [[{"input_ids": np.array([1, 2])}], [{"input_ids": np.array([3])}]]
    check_loaders(batches, [[{"input_ids": [1, 2]}], [{"input_ids": [3]}]])
    with pytest.raises(AssertionError):
        check_loaders(batches, [[{"input_ids": [1, 2]}], [{"input_ids": [4]}]])


@pytest.mark.slow
@pytest.mark.skipif(peer_folder("trl") is None, reason="TRL is not installed beside the project (make bench-peers)")
def test_trl_packs_by_best_fit() -> None:
    """The side-car itself checks that its bins are those of TRL's own function."""
    with SideCar("trl_pack", peer_folder("trl")) as trl:
        bins = trl.setup(lengths=LENGTHS.tolist(), capacity=5)
    assert bins == [[0], [1, 4], [2, 3]]
    check_bins(bins, LENGTHS, 5)
