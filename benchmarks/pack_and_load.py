"""Packing lengths into sequences against ``binpacking``, and reading rows in batches against torch's loader.

``binpacking`` takes a time that grows with the square of the number of lengths, so it gets them 1,000 at a time, as published trainers
call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from binpacking.to_constant_volume import to_constant_volume
from numpy.typing import NDArray

from benchmarks.bench import OURS, Case, Count, Goal, Size, timed
from twinkle.dataloader import DataLoader
from twinkle.dataset import DatasetMeta, LazyDataset
from twinkle.plugins_builtin.dataset._bin_packing import pack
from twinkle.plugins_builtin.dataset._packed_window import PackedWindow

WINDOW = 1_000
CAPACITIES = (512, 2_048, 8_192, 32_768)
NUM_LENGTHS: dict[Size, tuple[int, ...]] = {"quick": (10_000,), "full": (1_000, 10_000, 100_000)}
ENOUGH_FOR_FILL = 10_000
"""Lengths from which on the fill is judged: few lengths leave a last bin that is part empty, whatever one does."""
NUM_ROWS, NUM_TOKENS, BATCH_SIZE = 400, 683, 8

Item = tuple[int, int]
"""Number and length."""


def cases(size: Size) -> Iterator[Case]:
    """Each capacity, then the loader."""
    for count in NUM_LENGTHS[size]:
        for capacity in CAPACITIES:
            yield packing_case(count, capacity)
    yield loader_case()


def packing_case(count: int, capacity: int) -> Case:
    """``count`` chats into bins of ``capacity``."""
    lengths = sample_lengths(count, capacity)
    items: list[Item] = list(enumerate(lengths.tolist()))

    def binpacking() -> list[list[Item]]:
        windows = (items[start : start + WINDOW] for start in range(0, len(items), WINDOW))
        return [packed for window in windows for packed in to_constant_volume(window, capacity, weight_pos=1)]

    def check() -> None:
        packing = pack(lengths, capacity)
        assert sorted(packing.items.tolist()) == list(range(count)), "an item is lost or packed twice"
        assert max(int(lengths[packed].sum()) for packed in packing) <= capacity, "a bin is too full"

    def counts() -> Sequence[Count]:
        judged = count >= ENOUGH_FOR_FILL
        return [
            _fill("fill", lengths, len(pack(lengths, capacity)), capacity, at_least=99.9 if judged else None),
            _fill("fill in windows of 1,000", lengths, num_streamed_bins(items, capacity), capacity, at_least=99 if judged else None),
            _fill("fill of binpacking", lengths, len(binpacking()), capacity, at_least=None),
        ]

    return Case(
        name=f"{count:,} lengths, capacity {capacity:,}",
        variants={OURS: timed(lambda: pack(lengths, capacity)), "binpacking": timed(binpacking)},
        check=check,
        goals=[Goal(peer="binpacking", at_least=20)],
        counts=counts,
    )


def sample_lengths(count: int, capacity: int) -> NDArray[np.int64]:
    """Lengths of chats: log-normal with a median of an eighth of ``capacity``, cut to it."""
    draws = np.random.default_rng(0).lognormal(np.log(capacity / 8), 0.8, count)
    return np.clip(draws, 1, capacity).astype(np.int64)


def num_streamed_bins(items: Sequence[Item], capacity: int) -> int:
    """Bins of a stream in which 1,000 samples at most wait."""
    packer: PackedWindow[Item] = PackedWindow(capacity=capacity, window=WINDOW)
    return sum(len(list(packer.add(item, item[1]))) for item in items) + len(list(packer.flush()))


def _fill(name: str, lengths: NDArray[np.int64], num_bins: int, capacity: int, *, at_least: float | None) -> Count:
    return Count(name=name, value=round(100 * float(lengths.sum()) / (num_bins * capacity), 3), unit="%", at_least=at_least)


def loader_case() -> Case:
    """An epoch over encoded rows of a Hugging Face data set."""
    datasets.disable_progress_bars()
    ids = list(range(NUM_TOKENS))
    columns = {"input_ids": [ids] * NUM_ROWS, "labels": [ids] * NUM_ROWS, "attention_mask": [[1] * NUM_TOKENS] * NUM_ROWS}
    rows = datasets.Dataset.from_dict(columns)
    ours = DataLoader(dataset=rows, batch_size=BATCH_SIZE)
    theirs = torch.utils.data.DataLoader(rows, batch_size=BATCH_SIZE, collate_fn=list)

    def check() -> None:
        for batch, expected in zip(ours, theirs, strict=True):
            for row, other in zip(batch, expected, strict=True):
                assert row.keys() == other.keys()
                assert all(np.array_equal(row[name], other[name]) for name in row)

    return Case(
        name=f"{NUM_ROWS} rows of {NUM_TOKENS} tokens",
        variants={OURS: timed(lambda: list(ours)), "torch DataLoader": timed(lambda: list(theirs))},
        check=check,
        goals=[Goal(peer="torch DataLoader", at_least=4)],
        counts=lambda: [Count(name="rows encoded by a lazy data set", value=num_lazily_encoded(), at_least=NUM_ROWS, at_most=NUM_ROWS)],
    )


def num_lazily_encoded() -> int:
    """Rows that a template encodes in an epoch over :data:`NUM_ROWS` rows. A loader that looks before it fetches encodes each twice."""
    template = _CountingTemplate()
    lazy = LazyDataset(DatasetMeta(data=[{"messages": [{"role": "user", "content": str(i)}]} for i in range(NUM_ROWS)]))
    lazy.set_template(template)
    lazy.encode()
    list(DataLoader(dataset=lazy, batch_size=BATCH_SIZE))
    return template.num_rows


class _CountingTemplate:
    """Encodes every row to the same number of tokens, and counts the rows."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.max_length = NUM_TOKENS

    def batch_encode(self, trajectories: Sequence[Any], add_generation_prompt: bool = False) -> list[Any]:
        self.num_rows += len(trajectories)
        ids = list(range(NUM_TOKENS))
        return [{**trajectory, "input_ids": ids, "labels": ids} for trajectory in trajectories]

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return " ".join(map(str, token_ids))

    def concat_input_feature(self, prompt: Any, new_tokens: Sequence[int]) -> Any:
        return {**prompt, "input_ids": [*prompt["input_ids"], *new_tokens]}
