"""Batches: order, shares of ranks, length, position, bad rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from word_template import WordTemplate, conversation

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.mesh import DeviceMesh
from twinkle.core.runtime.context import ProcessContext
from twinkle.dataloader import DataLoader
from twinkle.dataset import Dataset, DatasetMeta


def numbers(count: int) -> Dataset:
    return Dataset(DatasetMeta(data=[{"n": n} for n in range(count)]))


def ns(batches: Any) -> list[list[int]]:
    return [[row["n"] for row in batch] for batch in batches]


def flat(batches: Any) -> list[int]:
    return [n for batch in ns(batches) for n in batch]


def test_batches_are_lists_of_rows_in_order() -> None:
    loader = DataLoader(dataset=numbers(5), batch_size=2)
    batches = list(loader)
    assert ns(batches) == [[0, 1], [2, 3], [4]]
    assert all(type(batch) is list and type(batch[0]) is dict for batch in batches)


THREE = [{"n": n} for n in range(3)]


@pytest.mark.parametrize("source", [lambda: numbers(3), THREE, datasets.Dataset.from_list(THREE)])
def test_a_loader_takes_functions_lists_and_hugging_face_data_sets(source: Any) -> None:
    assert flat(DataLoader(source, batch_size=2)) == [0, 1, 2]


@pytest.mark.parametrize("count", range(1, 14))
@pytest.mark.parametrize("batch_size", [1, 3, 4])
@pytest.mark.parametrize("min_batch_size", [1, 3])
def test_the_length_is_the_number_of_batches_that_come(count: int, batch_size: int, min_batch_size: int) -> None:
    loader = DataLoader(numbers(count), batch_size=batch_size, min_batch_size=min(min_batch_size, batch_size))
    if len(loader) == 0:
        with pytest.raises(InvalidData, match="make no batch"):
            list(loader)
    else:
        assert len(list(loader)) == len(loader)


def test_a_last_batch_below_the_minimum_is_left_out() -> None:
    assert ns(DataLoader(numbers(10), batch_size=4, min_batch_size=3)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert ns(DataLoader(numbers(10), batch_size=4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert ns(DataLoader(numbers(10), batch_size=4, min_batch_size=2))[-1] == [8, 9]


def share(monkeypatch: pytest.MonkeyPatch, context: ProcessContext, rank: int, mesh: DeviceMesh, source: Any, **options: Any) -> DataLoader:
    """The loader of one rank of a torchrun world."""
    from dataclasses import replace

    monkeypatch.setenv("RANK", str(rank))
    context.settings = replace(context.settings, rank=rank, world_size=mesh.world_size)
    return DataLoader(source, device_mesh=mesh, **options)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_ranks_of_a_mesh_share_each_batch(monkeypatch: pytest.MonkeyPatch, context: ProcessContext, streaming: bool) -> None:
    mesh = DeviceMesh.from_sizes(fsdp_size=2, dp_size=2)
    rows = DatasetMeta(data=[{"n": n} for n in range(10)])
    seen = {}
    for rank in range(4):
        loader = share(monkeypatch, context, rank, mesh, Dataset(rows, streaming=streaming), batch_size=8, shuffle=True, min_batch_size=1)
        seen[mesh.data_rank_of(rank)] = ns(loader)
    assert sorted(seen) == [0, 1, 2, 3]
    assert [len(seen[rank][0]) for rank in range(4)] == [2, 2, 2, 2]
    assert [len(seen[rank][1]) for rank in range(4)] == [1, 1, 0, 0]
    assert sorted(n for rank in range(4) for batch in seen[rank] for n in batch) == list(range(10))


def test_without_a_minimum_a_batch_has_a_row_for_every_rank(monkeypatch: pytest.MonkeyPatch, context: ProcessContext) -> None:
    loader = share(monkeypatch, context, 0, DeviceMesh.from_sizes(dp_size=4), numbers(10), batch_size=8)
    assert ns(loader) == [[0, 1]]
    assert len(loader) == 1


def test_a_batch_size_that_the_ranks_cannot_share_is_told(monkeypatch: pytest.MonkeyPatch, context: ProcessContext) -> None:
    with pytest.raises(InvalidArgument, match="a multiple of 4, got 6"):
        share(monkeypatch, context, 0, DeviceMesh.from_sizes(dp_size=4), numbers(10), batch_size=6)


@pytest.mark.parametrize(("arguments", "told"), [
    ({"batch_size": 0}, "batch_size"), ({"batch_size": 2, "min_batch_size": 3}, "min_batch_size"),
    ({"batch_size": 2, "min_batch_size": 0}, "min_batch_size"), ({"batch_sise": 2}, "batch_size"),
])  # fmt: skip
def test_wrong_arguments_are_told(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        DataLoader(numbers(4), **arguments)


def test_something_without_rows_is_told() -> None:
    with pytest.raises(InvalidArgument, match="got int"):
        DataLoader(3, batch_size=2)


# ---- shuffling and position


def test_shuffled_epochs_are_permutations_and_differ() -> None:
    loader = DataLoader(numbers(50), batch_size=8, shuffle=True, seed=1)
    first, second = flat(loader), flat(loader)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50))
    assert first == flat(DataLoader(numbers(50), batch_size=8, shuffle=True, seed=1))
    assert first != flat(DataLoader(numbers(50), batch_size=8, shuffle=True, seed=2))


def test_the_seed_is_that_of_the_run_unless_given(context: ProcessContext) -> None:
    context.seed = 7
    assert flat(DataLoader(numbers(50), batch_size=8, shuffle=True)) == flat(DataLoader(numbers(50), batch_size=8, shuffle=True, seed=7))


def test_shuffling_leaves_the_generators_of_training_alone() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(DataLoader(numbers(50), batch_size=8, shuffle=True))
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])


SOURCES = {
    "rows": lambda: numbers(23),
    "stream": lambda: Dataset(DatasetMeta(data=[{"n": n} for n in range(23)]), streaming=True),
    "iterable": lambda: Once(23),
}


class Once:
    """Rows without length and index."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[dict[str, int]]:
        return ({"n": n} for n in range(self.count))


def epochs(loader: DataLoader, count: int) -> list[tuple[list[int], int]]:
    """All batches of ``count`` epochs, each with the state after it."""
    found = []
    for _ in range(count):
        found += [([row["n"] for row in batch], loader.get_state()["consumed_train_samples"]) for batch in loader]
    return found


@pytest.mark.parametrize(("source", "shuffle"), [("rows", True), ("rows", False), ("stream", True), ("stream", False), ("iterable", False)])
@pytest.mark.parametrize("min_batch_size", [1, 4])
@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_loader_goes_on_as_if_never_stopped(source: str, shuffle: bool, min_batch_size: int, num_workers: int) -> None:
    def loader() -> DataLoader:
        return DataLoader(SOURCES[source], batch_size=4, min_batch_size=min_batch_size, shuffle=shuffle, seed=3, num_workers=num_workers)

    whole = epochs(loader(), 3)
    assert whole[0][1] == 4
    assert whole[-1][1] == sum(len(batch) for batch, _ in whole)
    for stop in [0, 1, 4, 5, 6, 7, 11] if num_workers == 0 else [7]:
        resumed = loader()
        resumed.resume_from_checkpoint(whole[stop - 1][1] if stop else 0)
        rest = epochs(resumed, 4)[: len(whole) - stop]
        assert rest == whole[stop:]


def test_an_epoch_that_was_broken_off_is_followed_by_the_next() -> None:
    loader, whole = (DataLoader(numbers(20), batch_size=4, shuffle=True, seed=0) for _ in range(2))
    next(iter(loader))
    list(whole)
    assert flat(loader) == flat(whole)


def test_a_stream_that_was_broken_off_begins_again() -> None:
    loader = DataLoader(SOURCES["stream"], batch_size=4)
    next(iter(loader))
    assert flat(loader) == list(range(23))
    assert loader.get_state() == {"consumed_train_samples": 23}


def test_skip_consumed_samples_is_the_same() -> None:
    loader = DataLoader(numbers(10), batch_size=2)
    loader.skip_consumed_samples(6)
    assert flat(loader) == [6, 7, 8, 9]
    with pytest.raises(InvalidArgument, match="0 or more"):
        loader.skip_consumed_samples(-1)


def test_a_stream_has_no_length_and_one_that_is_too_short_is_told() -> None:
    loader = DataLoader(SOURCES["stream"], batch_size=30, min_batch_size=30)
    with pytest.raises(TypeError, match="no length"):
        len(loader)
    with pytest.raises(InvalidData, match="ended after 23 rows"):
        list(loader)


def test_an_iterable_cannot_be_shuffled() -> None:
    with pytest.raises(InvalidArgument, match="can be shuffled, got Once"):
        list(DataLoader(Once(4), batch_size=2, shuffle=True))


# ---- bad rows


class Counting:
    """Rows that count how often they are asked for; numbers in ``bad`` raise, in ``none`` give None."""

    def __init__(self, count: int, bad: tuple[int, ...] = (), none: tuple[int, ...] = ()) -> None:
        self.asked: Counter[int] = Counter()
        self.count, self.bad, self.none = count, bad, none

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, int] | None:
        self.asked[index] += 1
        if index in self.bad:
            raise OSError(f"disk of row {index}")
        return None if index in self.none else {"n": index}


def test_each_row_is_fetched_once() -> None:
    rows = Counting(21)
    list(DataLoader(rows, batch_size=4, shuffle=True))
    assert rows.asked == Counter(range(21))


def test_a_bad_row_is_replaced_by_the_same_one_each_time(caplog: pytest.LogCaptureFixture) -> None:
    found = []
    for _ in range(2):
        rows = Counting(12, bad=(3,), none=(7,))
        with caplog.at_level(logging.WARNING):
            batches = ns(DataLoader(rows, batch_size=4))
        found.append(batches)
        assert [len(batch) for batch in batches] == [4, 4, 4]
        assert rows.asked[3] + rows.asked[7] >= 2
        assert rows.asked.total() == 12 + rows.asked[3] + rows.asked[7]
    assert found[0] == found[1]
    assert not {3, 7} & {n for batch in found[0] for n in batch}
    assert "row 3 cannot be used and is replaced: OSError: disk of row 3" in caplog.text
    assert "row 7 cannot be used and is replaced: it is None" in caplog.text


def test_a_loader_gives_up_after_max_retries_and_says_why() -> None:
    rows = Counting(5, bad=tuple(range(5)))
    with pytest.raises(InvalidData, match=r"row 0 cannot be used, nor can the 3 rows .*the last: OSError: disk") as caught:
        list(DataLoader(rows, batch_size=2, max_retries=3))
    assert rows.asked.total() == 4
    assert isinstance(caught.value.__cause__, OSError)


def test_the_rows_of_a_stream_that_are_none_are_passed_over() -> None:
    class Holes(Once):
        def __iter__(self) -> Iterator[Any]:
            return (None if n % 3 == 0 else {"n": n} for n in range(self.count))

    assert ns(DataLoader(Holes(8), batch_size=2)) == [[1, 2], [4, 5], [7]]


# ---- processor and workers


class Doubling:
    def __init__(self, factor: int = 2, device_mesh: DeviceMesh | None = None) -> None:
        self.factor = factor

    def __call__(self, inputs: Any) -> dict[str, list[int]]:
        return {"n": [self.factor * row["n"] for row in inputs]}


@pytest.mark.parametrize("given", [Doubling, Doubling(3), lambda inputs: {"n": [3 * row["n"] for row in inputs]}])
def test_a_processor_collates(given: Any) -> None:
    loader = DataLoader(numbers(3), batch_size=2)
    loader.set_processor(given, **({"factor": 3} if given is Doubling else {}))
    assert list(loader) == [{"n": [0, 3]}, {"n": [6]}]


def test_a_processor_is_built_with_the_mesh_of_the_loader() -> None:
    meshes = []

    class Asking(Doubling):
        def __init__(self, device_mesh: DeviceMesh | None = None) -> None:
            super().__init__()
            meshes.append(device_mesh)

    mesh = DeviceMesh.from_sizes(dp_size=1)
    DataLoader(numbers(3), batch_size=2, device_mesh=mesh).set_processor(Asking)
    assert meshes == [mesh]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["rows", "stream"])
def test_workers_give_the_batches_that_one_process_gives(source: str) -> None:
    options: dict[str, Any] = {"batch_size": 4, "shuffle": True, "seed": 5}
    state = torch.get_rng_state()
    assert epochs(DataLoader(SOURCES[source], num_workers=2, **options), 2) == epochs(DataLoader(SOURCES[source], **options), 2)
    assert torch.equal(state, torch.get_rng_state())


def test_an_encoded_data_set_is_loaded_with_its_columns_and_numbers_as_arrays() -> None:
    texts = ["a bb", "ccc", "d e f", "g"]
    dataset = Dataset(DatasetMeta(data=[{**conversation(text), "n": n} for n, text in enumerate(texts)]))
    dataset.set_template(WordTemplate())
    dataset.encode()
    dataset.filter(lambda row: row["n"] != 1)
    [batch] = DataLoader(dataset, batch_size=3)
    assert [row["input_ids"].tolist() for row in batch] == [[1, 2], [1, 1, 1], [1]]
    assert [row["labels"].tolist() for row in batch] == [row["labels"] for row in dataset]
    assert all(row["input_ids"].flags.writeable for row in batch)
    assert [(row["n"], row["length"]) for row in batch] == [(0, 2), (2, 3), (3, 1)]
    assert batch[1]["messages"] == conversation("d e f")["messages"]


def test_a_data_set_that_changed_is_loaded_as_it_is_now() -> None:
    dataset = Dataset(DatasetMeta(data=[conversation("a bb")]))
    dataset.set_template(WordTemplate())
    dataset.encode()
    loader = DataLoader(dataset, batch_size=1)
    assert len(next(iter(loader))[0]["input_ids"]) == 2
    dataset.encode(add_generation_prompt=True)
    assert len(next(iter(loader))[0]["input_ids"]) == 3
