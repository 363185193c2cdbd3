"""Bin packing: no item lost, no bin too full, and as few bins as item-by-item best-fit decreasing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinkle.plugins_builtin.dataset._best_fit import best_fit_bins
from twinkle.plugins_builtin.dataset._bin_packing import pack
from twinkle.plugins_builtin.dataset._packed_window import PackedWindow
from twinkle.plugins_builtin.dataset._pair_completion import pair_completion_bins

DATA = Path(__file__).parents[2] / "data"


def best_fit_one_by_one(lengths: list[int], capacity: int) -> list[int]:
    """The sorted fills of best-fit decreasing as the textbook says it: the fullest bin that still fits."""
    fills: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [number for number, fill in enumerate(fills) if fill + length <= capacity]
        if fitting:
            fills[max(fitting, key=fills.__getitem__)] += length
        else:
            fills.append(length)
    return sorted(fills)


def lognormal(count: int, capacity: int, median_part: float = 1 / 8, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    draws = np.random.default_rng(seed).lognormal(np.log(capacity * median_part), 0.8, count)
    return np.clip(draws, 1, capacity).astype(np.int64)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 40), st.data())
def test_the_bins_are_those_of_the_textbook(capacity: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=60))
    bins = best_fit_bins(np.asarray(lengths, dtype=np.int64), capacity)
    fills = sorted(sum(lengths[item] for item in np.flatnonzero(bins == number)) for number in set(bins.tolist()))
    assert fills == best_fit_one_by_one(lengths, capacity)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 40), st.data())
def test_every_way_places_each_item_and_overfills_no_bin(capacity: int, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=60))
    for way in (best_fit_bins, pair_completion_bins):
        bins = way(np.asarray(lengths, dtype=np.int64), capacity)
        fills = np.bincount(bins, weights=lengths)
        assert fills.min() > 0
        assert fills.max() <= capacity
    packing = pack(lengths, capacity)
    assert sorted(item for packed in packing for item in packed.tolist()) == list(range(len(lengths)))
    assert len(packing) <= len(best_fit_one_by_one(lengths, capacity))


@pytest.mark.parametrize(("mean", "deviation"), [(231, 68), (434, 130)])
def test_items_of_like_sizes_are_packed_where_best_fit_leaves_gaps(mean: int, deviation: int) -> None:
    lengths = np.clip(np.random.default_rng(0).normal(mean, deviation, 7_000), mean // 2, 3 * mean).astype(np.int64)
    assert lengths.sum() / ((best_fit_bins(lengths, 2048).max() + 1) * 2048) < 0.99
    assert lengths.sum() / (len(pack(lengths, 2048)) * 2048) >= 0.99
    assert pack(lengths, 2048).items.tolist() == pack(lengths, 2048).items.tolist()


def test_the_way_with_fewer_bins_is_taken() -> None:
    lengths = np.clip(np.random.default_rng(1).normal(683, 200, 7_000), 1, 2048).astype(np.int64)
    bins = [int(way(lengths, 2048).max()) + 1 for way in (best_fit_bins, pair_completion_bins)]
    assert bins[0] < bins[1], "otherwise this test shows nothing"
    assert len(pack(lengths, 2048)) == bins[0]


def test_bins_and_their_items_keep_the_order_of_the_data() -> None:
    packing = pack([2, 7, 3, 5, 3], 10)
    assert [packed.tolist() for packed in packing] == [[0, 3, 4], [1, 2]]


def test_nothing_makes_no_bins() -> None:
    assert len(pack([], 10)) == 0
    assert list(pack([], 10)) == []


@pytest.mark.parametrize(("lengths", "told"), [([5, 11], "item 1 has length 11"), ([0, 3], "item 0 has length 0")])
def test_a_length_that_fits_no_bin_is_told(lengths: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        pack(lengths, 10)


@pytest.mark.parametrize("capacity", [512, 2048, 32768])
def test_a_hundred_thousand_chats_fill_their_bins(capacity: int) -> None:
    lengths = lognormal(100_000, capacity)
    assert lengths.sum() / (len(pack(lengths, capacity)) * capacity) >= 0.999


def pack_stream(lengths: list[int], capacity: int, window: int) -> tuple[list[list[int]], int]:
    """The bins of a stream, and the most items that waited at once."""
    packer: PackedWindow[int] = PackedWindow(capacity=capacity, window=window)
    bins, packed, most = [], 0, 0
    for number, length in enumerate(lengths):
        for samples in packer.add(number, length):
            bins.append(samples)
            packed += len(samples)
        most = max(most, number + 1 - packed)
    return [*bins, *packer.flush()], most


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=80), st.integers(1, 30))
def test_a_stream_loses_no_sample_and_overfills_no_bin(lengths: list[int], window: int) -> None:
    bins, most = pack_stream(lengths, 20, window)
    assert sorted(number for packed in bins for number in packed) == list(range(len(lengths)))
    assert all(0 < sum(lengths[number] for number in packed) <= 20 for packed in bins)
    assert most <= window


@pytest.mark.parametrize(("median_part", "least"), [(1 / 16, 0.995), (1 / 8, 0.995), (1 / 4, 0.99)])
def test_a_stream_in_windows_of_a_thousand_fills_99_percent(median_part: float, least: float) -> None:
    lengths = lognormal(20_000, 2048, median_part).tolist()
    bins, _ = pack_stream(lengths, 2048, 1_000)
    assert sum(lengths) / (len(bins) * 2048) >= least


def test_a_sample_that_is_too_long_for_a_stream_is_told() -> None:
    with pytest.raises(ValueError, match="length 11"):
        list(PackedWindow(capacity=10, window=4).add("x", 11))


@pytest.mark.parametrize("window", [None, 1000])
def test_gsm8k_fills_99_percent_of_2048(window: int | None) -> None:
    """The token counts of all 7,473 training problems with Qwen's tokenizer and chat template, as ``PackingDataset`` packs them."""
    lengths = np.array(json.loads((DATA / "gsm8k" / "train_lengths.json").read_text()))
    if window is None:
        num_bins = len(pack(lengths, 2048))
    else:
        bins, _ = pack_stream(lengths.tolist(), 2048, window)
        assert sorted(n for samples in bins for n in samples) == list(range(lengths.size))
        num_bins = len(bins)
    assert lengths.sum() / (num_bins * 2048) >= 0.99
