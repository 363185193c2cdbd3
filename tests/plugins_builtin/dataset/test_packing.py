"""Packed sequences: nothing lost, columns joined, positions that start again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from word_template import WordTemplate, conversation

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.dataloader import DataLoader
from twinkle.dataset import Dataset, DatasetMeta, IterablePackingDataset, PackingDataset

TEXTS = [" ".join("x" * (1 + (n + word) % 5) for word in range(1 + n % 7)) for n in range(40)]
ROWS = [{**conversation(text), "n": n, "user_data": [["truth", str(n)]]} for n, text in enumerate(TEXTS)]
FORMS = [PackingDataset, IterablePackingDataset]


def packed(form: Any = PackingDataset, max_length: int = 20, rows: list[dict[str, Any]] = ROWS, **options: Any) -> Any:
    dataset = form(DatasetMeta(data=rows), **options)
    dataset.set_template(WordTemplate(max_length=max_length))
    dataset.encode()
    dataset.pack_dataset()
    return dataset


@pytest.mark.parametrize("form", FORMS)
def test_a_sequence_joins_its_samples_column_by_column(form: Any) -> None:
    plain = Dataset(DatasetMeta(data=ROWS))
    plain.set_template(WordTemplate())
    plain.encode()
    samples = {row["n"]: row for row in plain}
    seen = []
    for sequence in packed(form):
        mine = [samples[n] for n in sequence["n"]]
        seen += sequence["n"]
        for column in ("input_ids", "labels", "position_ids"):
            assert sequence[column].tolist() == [value for sample in mine for value in sample[column]]
        assert sequence["length"] == [sample["length"] for sample in mine]
        assert sum(sequence["length"]) <= 20
        assert np.flatnonzero(sequence["position_ids"] == 0).tolist() == [0, *np.cumsum(sequence["length"])[:-1].tolist()]
        assert sequence["messages"] == [message for sample in mine for message in sample["messages"]]
        assert sequence["user_data"] == [pair for sample in mine for pair in sample["user_data"]]
    assert sorted(seen) == list(range(40))


def test_a_packed_data_set_has_a_length_and_an_index() -> None:
    dataset = packed()
    assert len(dataset) == len(list(dataset)) < 40
    assert dataset[-1]["input_ids"].tolist() == list(dataset)[-1]["input_ids"].tolist()
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_packing_survives_files_filters_and_many_chunks(tmp_path: Path) -> None:
    Dataset(DatasetMeta(data=ROWS)).save_as(tmp_path / "r.jsonl")
    dataset = PackingDataset(DatasetMeta(str(tmp_path / "r.jsonl"), data_slice=[3, 1, 2, *range(10, 40)]))
    dataset.set_template(WordTemplate(max_length=20))
    dataset.encode(batch_size=4, writer_batch_size=4)
    dataset.filter(lambda row: row["n"] % 3 > 0)
    dataset.pack_dataset()
    found = {n: ids for sequence in dataset for n, ids in split(sequence)}
    kept = [n for n in [3, 1, 2, *range(10, 40)] if n % 3 > 0]
    assert found == {n: [len(word) for word in TEXTS[n].split()] for n in kept}


def split(sequence: dict[str, Any]) -> list[tuple[int, list[int]]]:
    """The samples of a sequence by number."""
    parts = np.split(sequence["input_ids"], np.cumsum(sequence["length"])[:-1])
    return [(n, part.tolist()) for n, part in zip(sequence["n"], parts, strict=True)]


@pytest.mark.parametrize("form", FORMS)
def test_positions_are_made_where_a_template_gives_none(form: Any) -> None:
    class NoPositions(WordTemplate):
        def _features(self, trajectory: Any, add_generation_prompt: bool) -> list[dict[str, Any]]:
            return [{"input_ids": feature["input_ids"]} for feature in super()._features(trajectory, add_generation_prompt)]

    dataset = form(DatasetMeta(data=[conversation("a b c"), conversation("a b")]))
    dataset.set_template(NoPositions(max_length=5))
    dataset.encode()
    dataset.pack_dataset()
    assert [sequence["position_ids"].tolist() for sequence in dataset] == [[0, 1, 2, 0, 1]]


def test_rows_are_fetched_as_they_are_before_packing() -> None:
    dataset = PackingDataset(DatasetMeta(data=ROWS))
    assert len(dataset) == 40
    assert dataset[0] == next(iter(dataset))
    assert dataset[0]["n"] == 0


def test_steps_in_the_wrong_order_are_told() -> None:
    dataset = PackingDataset(DatasetMeta(data=ROWS))
    with pytest.raises(InvalidArgument, match="set_template"):
        dataset.pack_dataset()
    dataset.set_template(WordTemplate())
    with pytest.raises(InvalidArgument, match=r"call encode\(\) first"):
        dataset.pack_dataset()
    dataset.encode()
    dataset.pack_dataset()
    calls = [("map", bool), ("filter", bool), ("cast_column", "n", None), ("add_dataset", "x")]
    for change in (dataset.encode, dataset.check, dataset.mix_dataset, *(partial(getattr(dataset, name), *rest) for name, *rest in calls)):
        with pytest.raises(InvalidArgument, match=r"packed already: call \w+ before pack_dataset"):
            change()


def test_a_stream_that_was_not_encoded_is_told() -> None:
    dataset = IterablePackingDataset(DatasetMeta(data=ROWS))
    dataset.set_template(WordTemplate())
    dataset.pack_dataset()
    with pytest.raises(InvalidArgument, match=r"call encode\(\) too"):
        list(dataset)


@pytest.mark.parametrize("form", FORMS)
def test_a_sample_longer_than_a_sequence_is_told(form: Any) -> None:
    rows = [conversation("a"), conversation("a b c d e f")]
    with pytest.raises(InvalidData, match=r"row 1 of .* has 6 tokens, more than the 4 .*truncation_strategy"):
        list(packed(form, max_length=4, rows=rows))


@pytest.mark.parametrize("form", FORMS)
def test_a_template_without_a_limit_packs_up_to_2048(form: Any) -> None:
    class Unlimited(WordTemplate):
        def __init__(self) -> None:
            super().__init__()
            self.max_length = None  # type: ignore[assignment]

    dataset = form(DatasetMeta(data=[conversation(" ".join("a" * 700)) for _ in range(4)]))
    dataset.set_template(Unlimited())
    dataset.encode()
    dataset.pack_dataset()
    assert [len(sequence["input_ids"]) for sequence in dataset] == [1400, 1400]


def test_a_stream_that_splits_rows_is_refused() -> None:
    template = WordTemplate()
    template.truncation_strategy = "split"  # type: ignore[attr-defined]
    dataset = IterablePackingDataset(DatasetMeta(data=ROWS))
    dataset.set_template(template)
    with pytest.raises(InvalidArgument, match="IterablePackingDataset cannot use truncation_strategy='split'"):
        dataset.encode()


def test_a_cyclic_stream_begins_again() -> None:
    dataset = packed(IterablePackingDataset, packing_interval=8, cyclic=True)
    seen: list[int] = []
    for sequence in dataset:
        seen += sequence["n"]
        if len(seen) >= 100:
            break
    assert min(np.bincount(seen, minlength=40)) >= 2


@pytest.mark.parametrize("options", [{"packing_interval": 0}, {"packing_num_proc": 0}])
def test_wrong_packing_options_are_told(options: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match="at least 1"):
        IterablePackingDataset(DatasetMeta(data=ROWS), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_a_packed_data_set_is_loaded_and_resumed(form: Any) -> None:
    def batches(consumed: int) -> list[list[list[int]]]:
        loader = DataLoader(packed(form), batch_size=2, shuffle=True, seed=1)
        loader.resume_from_checkpoint(consumed)
        return [[sequence["n"] for sequence in batch] for batch in loader]

    whole = batches(0)
    assert sorted(n for batch in whole for sequence in batch for n in sequence) == list(range(40))
    assert batches(4) == whole[2:]


@pytest.mark.slow
def test_encoding_in_processes_gives_the_same_sequences() -> None:
    one, two = (packed(packing_num_proc=count) for count in (1, 2))
    assert [sequence["n"] for sequence in one] == [sequence["n"] for sequence in two]
