"""Rows that are encoded on access."""

from __future__ import annotations

import logging

import pytest
from word_template import WordTemplate, conversation

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.dataloader import DataLoader
from twinkle.dataset import DatasetMeta, LazyDataset


def lazy(*texts: str) -> tuple[LazyDataset, WordTemplate]:
    dataset, template = LazyDataset(DatasetMeta(data=[{**conversation(text), "n": n} for n, text in enumerate(texts)])), WordTemplate()
    dataset.set_template(template)
    dataset.encode()
    return dataset, template


def test_nothing_is_encoded_before_it_is_asked_for() -> None:
    dataset, template = lazy("a", "bb", "ccc")
    assert len(dataset) == 3
    assert template.encoded == []
    assert dataset[1] == {**conversation("bb"), "n": 1, "input_ids": [2], "labels": [-100], "position_ids": [0], "length": 1}
    assert template.encoded == ["bb"]
    assert [row["input_ids"] for row in dataset] == [[1], [2], [3]]
    assert [row["n"] for row in dataset[1:]] == [1, 2]


def test_rows_are_raw_before_encode() -> None:
    dataset = LazyDataset(DatasetMeta(data=[conversation("a")]))
    assert dataset[0] == conversation("a")
    for method in (dataset.encode, dataset.check):
        with pytest.raises(InvalidArgument, match="set_template"):
            method()


def test_a_loader_encodes_each_row_once() -> None:
    texts = [f"row {n}" for n in range(21)]
    dataset, template = lazy(*texts)
    list(DataLoader(dataset, batch_size=4, shuffle=True))
    assert sorted(template.encoded) == sorted(texts)


def test_a_row_that_cannot_be_encoded_is_told_and_a_loader_replaces_it(caplog: pytest.LogCaptureFixture) -> None:
    dataset, _ = lazy("a", "refuse", "drop", "b")
    with pytest.raises(InvalidData, match=r"row 1 of .* cannot be encoded"):
        dataset[1]
    with pytest.raises(InvalidData, match=r"row 2 of .* encodes to nothing"):
        dataset[2]
    with caplog.at_level(logging.WARNING):
        [batch] = DataLoader(dataset, batch_size=4)
    assert len(batch) == 4
    assert {row["n"] for row in batch} <= {0, 3}
    assert "row 1 cannot be used and is replaced" in caplog.text
    assert "row 2 cannot be used and is replaced" in caplog.text


def test_splitting_rows_is_refused() -> None:
    dataset, template = lazy("a", "twice")
    with pytest.raises(InvalidArgument, match="several samples of one row"):
        dataset[1]
    template.truncation_strategy = "split"  # type: ignore[attr-defined]
    with pytest.raises(InvalidArgument, match="LazyDataset cannot use truncation_strategy='split'") as told:
        dataset.encode()
    assert "'delete'" not in str(told.value)  # on access there is nothing to delete a row from


def test_the_generation_prompt_is_handed_on() -> None:
    dataset, _ = lazy("a")
    dataset.encode(add_generation_prompt=True)
    assert dataset[0]["input_ids"] == [1, 99]
