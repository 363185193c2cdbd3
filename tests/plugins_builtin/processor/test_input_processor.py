"""Collated batches against tensors written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.processor import InputProcessor

LONG = {"input_ids": [11, 12, 13], "labels": [12, 13, -100], "completion_mask": [0, 1, 1], "loss_scale": [0.5, 1.0, 2.0], "messages": ["x"]}
SHORT = {"input_ids": np.array([21]), "labels": np.array([7]), "completion_mask": [1], "loss_scale": [3.0], "user_data": []}


def assert_batch(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(
            got[name], torch.as_tensor(values, dtype=got[name].dtype), rtol=0, atol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
    for name in ("input_ids", "labels", "position_ids"):
        assert got[name].dtype is torch.int64


def test_right_padding() -> None:
    assert_batch(
        InputProcessor()([LONG, SHORT]),
        {
            "input_ids": [[11, 12, 13], [21, 0, 0]],
            "position_ids": [[0, 1, 2], [0, -1, -1]],
            "labels": [[12, 13, -100], [7, -100, -100]],
            "completion_mask": [[0, 1, 1], [1, 0, 0]],
            "loss_scale": [[0.5, 1.0, 2.0], [3.0, 0.0, 0.0]],
            "attention_mask": [[1, 1, 1], [1, 0, 0]],
        },
    )


def test_left_padding() -> None:
    assert_batch(
        InputProcessor(padding_side="left")([LONG, SHORT]),
        {
            "input_ids": [[11, 12, 13], [0, 0, 21]],
            "position_ids": [[0, 1, 2], [-1, -1, 0]],
            "labels": [[12, 13, -100], [-100, -100, 7]],
            "completion_mask": [[0, 1, 1], [0, 0, 1]],
            "loss_scale": [[0.5, 1.0, 2.0], [0.0, 0.0, 3.0]],
            "attention_mask": [[1, 1, 1], [0, 0, 1]],
        },
    )


def test_without_padding() -> None:
    assert_batch(
        InputProcessor(padding_free=True)([LONG, SHORT]),
        {
            "input_ids": [[11, 12, 13, 21]],
            "position_ids": [[0, 1, 2, 0]],
            "labels": [[12, 13, -100, 7]],
            "completion_mask": [[0, 1, 1, 1]],
            "loss_scale": [[0.5, 1.0, 2.0, 3.0]],
            "cu_seqlens": [0, 3, 4],
        },
    )


def test_a_packed_sample_becomes_the_sequences_that_it_was_packed_from() -> None:
    row = {"input_ids": [1, 2, 3, 4, 5], "labels": [2, -100, 4, 5, -100], "position_ids": [0, 1, 0, 1, 2]}
    assert_batch(
        InputProcessor()([row]),
        {
            "input_ids": [[1, 2, 0], [3, 4, 5]],
            "position_ids": [[0, 1, -1], [0, 1, 2]],
            "labels": [[2, -100, -100], [4, 5, -100]],
            "attention_mask": [[1, 1, 0], [1, 1, 1]],
        },
    )


def test_padding_that_a_sample_brings_is_taken_off() -> None:
    brought = {"input_ids": [0, 0, 5, 6], "attention_mask": [0, 0, 1, 1], "labels": [-100, -100, 6, -100], "position_ids": [-1, -1, 0, 1]}
    got = InputProcessor()(brought)
    assert_batch(
        {name: got[name] for name in ("input_ids", "labels", "position_ids")},
        {"input_ids": [[5, 6]], "labels": [[6, -100]], "position_ids": [[0, 1]]},
    )


def test_lists_arrays_and_tensors_are_the_same() -> None:
    kinds = [LONG["input_ids"], np.array(LONG["input_ids"], dtype=np.int32), torch.tensor(LONG["input_ids"])]
    batches = [InputProcessor()([{"input_ids": ids}]) for ids in kinds]
    for batch in batches:
        assert_batch(batch, {name: values.tolist() for name, values in batches[0].items()})


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "an empty batch: expected one encoded sample or more"),
        ([LONG, {"messages": []}], r"sample 1 of the batch has no 'input_ids' \(its columns: \['messages'\]\); encode the data set first"),
        ([{"input_ids": []}], "sample 0 of the batch has no token"),
        ([{"input_ids": [1, 2], "labels": [2]}], r"sample 0 of the batch: 'labels' has shape \(1,\), but 'input_ids' has \(2,\)"),
        ([{"input_ids": [1, 2], "position_ids": [3, 4]}], r"sample 0 of the batch: 'position_ids' must begin with 0, got \[3, 4\]"),
        ([LONG, {"input_ids": [1]}], "sample 1 of the batch has no 'completion_mask', but others do"),
    ],
)
def test_what_cannot_be_collated_is_told(features: list[Any], message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        InputProcessor()(features)


def test_a_wrong_side_is_told() -> None:
    with pytest.raises(InvalidArgument, match="padding_side: expected 'right' or 'left', got 'top'"):
        InputProcessor(padding_side="top")  # type: ignore[arg-type]
