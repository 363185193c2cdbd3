"""Packing lengths into sequences against ``binpacking`` and TRL, reading rows in batches against torch, datasets and twinkle-kit.

``binpacking`` takes a time that grows with the square of the number of lengths, so it gets them 1,000 at a time, as published trainers
call it. "TRL bfd" gets all of them, as we do: it is what ``strategy="bfd"`` does with lengths, without the copy of tokens that follows.
Who is not installed is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, timed
from benchmarks.sidecar import SideCar, peer_folder
from twinkle.dataloader import DataLoader
from twinkle.dataset import DatasetMeta, LazyDataset
from twinkle.plugins_builtin.dataset._bin_packing import pack
from twinkle.plugins_builtin.dataset._packed_window import PackedWindow

WINDOW = 1_000
CAPACITIES: dict[Size, tuple[int, ...]] = {"quick": (512, 32_768), "full": (512, 2_048, 8_192, 32_768)}
"""Of a bin; the larger, the less is won, as more lengths fit in and there is more to choose from."""
NUM_LENGTHS: dict[Size, tuple[int, ...]] = {"quick": (10_000,), "full": (1_000, 10_000, 100_000)}
ENOUGH_FOR_FILL = 10_000
"""Lengths from which on the fill is judged: few lengths leave a last bin that is part empty, whatever one does."""
NUM_ROWS, NUM_TOKENS, BATCH_SIZE = 400, 683, 8

Item = tuple[int, int]
"""Number and length."""


def cases(size: Size) -> Iterator[Case]:
    """Each capacity, then the loader."""
    with ExitStack() as stack:
        packages = peer_folder("trl")
        trl = None if packages is None else stack.enter_context(SideCar("trl_pack", packages))
        for count in NUM_LENGTHS[size]:
            for capacity in CAPACITIES[size]:
                yield packing_case(count, capacity, trl)
    yield from loader_cases()


def packing_case(count: int, capacity: int, trl: SideCar | None) -> Case:
    """``count`` chats into bins of ``capacity``."""
    lengths = sample_lengths(count, capacity)
    items: list[Item] = list(enumerate(lengths.tolist()))
    binpacking = packer_of_others(items, capacity)

    trl_bins = None if trl is None else trl.setup(lengths=lengths.tolist(), capacity=capacity)

    def check() -> None:
        check_bins(list(pack(lengths, capacity)), lengths, capacity)
        if trl_bins is not None:
            check_bins(trl_bins, lengths, capacity)

    def counts() -> Sequence[Count]:
        judged = count >= ENOUGH_FOR_FILL
        found = [
            _fill("fill", lengths, len(pack(lengths, capacity)), capacity, at_least=99.9 if judged else None),
            _fill("fill in windows of 1,000", lengths, num_streamed_bins(items, capacity), capacity, at_least=99 if judged else None),
        ]
        if binpacking is not None:
            found.append(_fill("fill of binpacking", lengths, len(binpacking()), capacity, at_least=None))
        if trl_bins is not None:
            found.append(_fill("fill of TRL bfd", lengths, len(trl_bins), capacity, at_least=None))
        return found

    variants: dict[str, Variant] = {OURS: timed(lambda: pack(lengths, capacity))}
    if binpacking is not None:
        variants["binpacking"] = timed(binpacking)
    if trl is not None:
        variants["TRL bfd"] = trl.step
    return Case(
        name=f"{count:,} lengths, capacity {capacity:,}",
        variants=variants,
        check=check,
        goals=[Goal(peer="binpacking", at_least=20)],
        counts=counts,
    )


def check_bins(bins: Sequence[Sequence[int] | NDArray[np.int64]], lengths: NDArray[np.int64], capacity: int) -> None:
    """Each length is in one bin, and no bin is too full."""
    items = sorted(int(item) for packed in bins for item in packed)
    assert items == list(range(len(lengths))), "an item is lost or packed twice"
    assert max(int(lengths[packed].sum()) for packed in bins) <= capacity, "a bin is too full"


def packer_of_others(items: Sequence[Item], capacity: int) -> Callable[[], list[list[Item]]] | None:
    """``binpacking``, if it is installed."""
    if find_spec("binpacking") is None:
        return None
    from binpacking.to_constant_volume import to_constant_volume

    def binpacking() -> list[list[Item]]:
        windows = (items[start : start + WINDOW] for start in range(0, len(items), WINDOW))
        return [packed for window in windows for packed in to_constant_volume(window, capacity, weight_pos=1)]

    return binpacking


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


def loader_cases() -> Iterator[Case]:
    """An epoch over encoded rows of a Hugging Face data set.

    Ours gives each row as arrays, copied from where Arrow holds them. Lists of Python numbers, as such a data set gives them to torch's
    loader unless it is asked for arrays, take the time of making each number. Its own batched reads give a batch as columns of arrays.
    """
    datasets.disable_progress_bars()
    ids = list(range(NUM_TOKENS))
    columns = {"input_ids": [ids] * NUM_ROWS, "labels": [ids] * NUM_ROWS, "attention_mask": [[1] * NUM_TOKENS] * NUM_ROWS}
    rows = datasets.Dataset.from_dict(columns)
    ours = DataLoader(dataset=rows, batch_size=BATCH_SIZE)
    lists, arrays = (
        torch.utils.data.DataLoader(source, batch_size=BATCH_SIZE, collate_fn=list) for source in (rows, rows.with_format("numpy"))
    )
    as_arrays = rows.with_format("numpy")

    def batched_reads() -> list[Mapping[str, Any]]:
        return [as_arrays[start : start + BATCH_SIZE] for start in range(0, NUM_ROWS, BATCH_SIZE)]

    def check() -> None:
        by_row = [[dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)] for batch in batched_reads()]
        check_loaders(ours, lists, arrays, by_row)

    variants: dict[str, Variant] = {
        OURS: timed(lambda: list(ours)),
        "torch DataLoader": timed(lambda: list(lists)),
        "torch DataLoader, rows as arrays": timed(lambda: list(arrays)),
        "datasets, batched reads": timed(batched_reads),
    }
    with TemporaryDirectory() as folder, ExitStack() as stack:
        if (packages := peer_folder("twinkle-kit")) is not None:
            rows.save_to_disk(folder)
            car = stack.enter_context(SideCar("twinkle_kit_load", packages))
            last = car.setup(folder=folder, batch_size=BATCH_SIZE)
            assert last == rows[NUM_ROWS - 1], "twinkle-kit gives other rows"
            variants["twinkle-kit"] = car.step
        yield Case(
            name=f"{NUM_ROWS} rows of {NUM_TOKENS} tokens",
            variants=variants,
            check=check,
            goals=[Goal(peer="torch DataLoader", at_least=4), Goal(peer="twinkle-kit", at_least=4)],
            counts=lambda: [Count(name="rows encoded by a lazy data set", value=num_lazily_encoded(), at_least=NUM_ROWS, at_most=NUM_ROWS)],
        )


def check_loaders(ours: Iterable[Any], *others: Iterable[Any]) -> None:
    """All give the same rows in the same batches."""
    for batch, *theirs in zip(ours, *others, strict=True):
        for row, *same in zip(batch, *theirs, strict=True):
            for other in same:
                assert row.keys() == other.keys()
                assert all(np.array_equal(row[name], other[name]) for name in row)


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
