"""Streams: read, mapped, filtered and encoded while they are used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from word_template import WordTemplate

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.dataset import DatasetMeta, IterableDataset
from twinkle.plugins_builtin.dataset._shuffle import BUFFER_ROWS, shuffle_stream


def write(path: Path, count: int) -> str:
    path.write_text("".join(json.dumps({"query": f"q{n}", "response": "{{NAME}}", "n": n}) + "\n" for n in range(count)))
    return str(path)


def test_a_stream_maps_filters_and_encodes_while_it_is_read(tmp_path: Path) -> None:
    template = WordTemplate()
    dataset = IterableDataset(write(tmp_path / "r.jsonl", 300))
    dataset.set_template(template)
    dataset.map("self_cognition", init_args={"model_name": "T", "model_author": "U"})
    dataset.filter(lambda row: row["n"] % 2 == 1)
    dataset.encode()
    assert template.encoded == []
    rows = iter(dataset)
    first = next(rows)
    assert (first["n"], first["query"], first["messages"][2]["content"], first["input_ids"][-1]) == (1, "q1", "T", 1)
    assert 0 < len(template.encoded) <= 128
    assert [first["n"], *(row["n"] for row in rows)] == list(range(1, 300, 2))
    assert len(template.encoded) == 150


def test_rows_that_a_template_splits_or_deletes_change_the_number() -> None:
    texts = ["a", "drop", "twice", "b"]
    dataset = IterableDataset(DatasetMeta(data=[{"messages": [{"role": "user", "content": text}], "n": n} for n, text in enumerate(texts)]))
    dataset.set_template(WordTemplate())
    dataset.encode()
    assert [row["n"] for row in dataset] == [0, 2, 2, 3]


def test_a_row_that_cannot_be_encoded_is_named() -> None:
    dataset = IterableDataset(DatasetMeta(data=[{"messages": [{"role": "user", "content": text}]} for text in ("a", "refuse")]))
    dataset.set_template(WordTemplate())
    dataset.encode()
    with pytest.raises(InvalidData, match="row 1 of rows in memory"):
        list(dataset)
    dataset = IterableDataset(DatasetMeta(data=[{"messages": [{"role": "user", "content": text}]} for text in ("a", "refuse")]))
    dataset.set_template(WordTemplate())
    dataset.check()
    dataset.encode()
    assert len(list(dataset)) == 1


def test_a_stream_has_no_length_and_no_index() -> None:
    dataset = IterableDataset(DatasetMeta(data=[{"n": 1}]))
    for use in (lambda: len(dataset), lambda: dataset[0]):
        with pytest.raises(InvalidArgument, match="is a stream: it has no length"):
            use()
    assert list(dataset) == [{"n": 1}]


def test_streams_are_mixed() -> None:
    dataset = IterableDataset(DatasetMeta(data=[{"n": n} for n in range(3)]))
    dataset.add_dataset(DatasetMeta(data=[{"n": n} for n in range(10, 12)]))
    dataset.mix_dataset()
    assert [row["n"] for row in dataset] == [0, 10, 1, 11]


def test_a_shuffled_stream_is_a_permutation_that_seed_and_epoch_decide() -> None:
    count = 2 * BUFFER_ROWS + 7
    first = list(shuffle_stream(iter(range(count)), 1, 0))
    assert sorted(first) == list(range(count))
    assert first == list(shuffle_stream(iter(range(count)), 1, 0))
    assert first != list(shuffle_stream(iter(range(count)), 1, 1)) != list(shuffle_stream(iter(range(count)), 2, 1))
    assert all(row < place + BUFFER_ROWS for place, row in enumerate(first)), "a row came before it could have been read"
    assert sum(abs(row - place) for place, row in enumerate(first)) / count > BUFFER_ROWS / 10
