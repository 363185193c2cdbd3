"""Properties of the flat batch: whatever the samples and however they come together, it holds the same tokens."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twinkle.core.errors import InvalidData
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch
from twinkle.processor import InputProcessor


@st.composite
def samples(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Samples of 1 to 9 tokens, some with masks; their ids tell them apart."""
    made = []
    with_mask = draw(st.booleans())
    for index in range(draw(st.integers(1, 6))):
        length = draw(st.integers(1, 9))
        made.append(
            {
                "input_ids": [100 * index + i + 1 for i in range(length)],
                "labels": draw(st.lists(st.sampled_from([-100, 3, 4]), min_size=length, max_size=length)),
                **({"completion_mask": draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))} if with_mask else {}),
            }
        )
    return made


def packed_rows(rows: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {
            **{name: [v for s in row for v in s[name]] for name in row[0]},
            "position_ids": [i for s in row for i in range(len(s["input_ids"]))],
        }
        for row in rows
        if row
    ]


def assert_same(a: FlatBatch, b: FlatBatch) -> None:
    assert a.lengths == b.lengths
    for name in ("input_ids_T", "position_ids_T", "labels_T", "trained_index"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert a.token_columns.keys() == b.token_columns.keys()
    for name, values in a.token_columns.items():
        assert torch.equal(values, b.token_columns[name]), name


@given(samples())
@settings(deadline=None, max_examples=60)
def test_its_columns_are_the_samples_one_after_the_other(rows: list[dict[str, Any]]) -> None:
    batch = FlatBatch.from_features(rows)
    assert batch.input_ids_T.tolist() == [t for s in rows for t in s["input_ids"]]
    assert batch.labels_T.tolist() == [t for s in rows for t in s["labels"]]
    assert batch.position_ids_T.tolist() == [i for s in rows for i in range(len(s["input_ids"]))]
    assert batch.lengths == tuple(len(s["input_ids"]) for s in rows)
    assert batch.cu_seqlens.tolist() == np.cumsum([0, *batch.lengths]).tolist()
    assert batch.trained_index.tolist() == [i for i, t in enumerate(batch.labels_T.tolist()) if t != -100]
    assert (batch.num_sequences, batch.num_tokens, batch.num_trained_tokens) == (
        len(rows),
        sum(batch.lengths),
        sum(t != -100 for s in rows for t in s["labels"]),
    )


@given(samples(), st.sampled_from(["right", "left"]))
@settings(deadline=None, max_examples=60)
def test_padded_and_back_is_the_same(rows: list[dict[str, Any]], side: Any) -> None:
    batch = FlatBatch.from_features(rows)
    assert_same(FlatBatch.from_mapping(InputProcessor(padding_side=side)(rows)), batch)
    without_mask = {n: v for n, v in InputProcessor(padding_side=side)(rows).items() if n != "attention_mask"}
    assert_same(FlatBatch.from_mapping(without_mask), batch)


@given(samples())
@settings(deadline=None, max_examples=60)
def test_flat_and_back_is_the_same(rows: list[dict[str, Any]]) -> None:
    assert_same(FlatBatch.from_mapping(InputProcessor(padding_free=True)(rows)), FlatBatch.from_features(rows))


@given(samples(), st.lists(st.integers(0, 6), max_size=3))
@settings(deadline=None, max_examples=60)
def test_packed_rows_are_the_same(rows: list[dict[str, Any]], cuts: list[int]) -> None:
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    packed = packed_rows([rows[a:b] for a, b in itertools.pairwise(bounds)])
    assert_same(FlatBatch.from_features(packed), FlatBatch.from_features(rows))


@given(samples(), st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_split_parts_are_the_parts(rows: list[dict[str, Any]], size: int) -> None:
    parts = FlatBatch.from_features(rows).split(size)
    assert len(parts) == -(-len(rows) // size)
    for index, part in enumerate(parts):
        assert_same(part, FlatBatch.from_features(rows[index * size : (index + 1) * size]))


def test_padding_is_differentiable() -> None:
    batch = FlatBatch.from_features([{"input_ids": [1, 2, 3]}, {"input_ids": [4]}])
    values = torch.arange(8.0).reshape(4, 2).requires_grad_()
    padded = batch.pad(values, -7.0)
    assert padded.tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [-7, -7], [-7, -7]]]
    (gradient,) = torch.autograd.grad((padded * torch.arange(12.0).reshape(2, 3, 2)).sum(), values)
    assert gradient.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"labels": torch.zeros(1, 2)}, r"expected 'input_ids' as a \[batch, length\] tensor, got NoneType; its columns are \['labels'\]"),
        ({"input_ids": torch.zeros(3)}, r"got of shape \(3,\)"),
    ],
)
def test_a_mapping_that_is_no_batch_is_told(batch: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        FlatBatch.from_mapping(batch)


def test_a_batch_goes_to_another_device_with_all_of_its_columns() -> None:
    batch = FlatBatch.from_features([{"input_ids": [1, 2], "loss_scale": [0.5, 1.0]}, {"input_ids": [3], "loss_scale": [1.0]}])
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    tensors = (moved.input_ids_T, moved.position_ids_T, moved.labels_T, moved.token_columns["loss_scale"])
    assert {t.device.type for t in tensors} == {"meta"}
    assert (moved.lengths, moved.has_labels, moved.num_trained_tokens) == ((2, 1), False, 0)


@pytest.mark.parametrize("labels", [[-100], [5]])
def test_a_batch_has_labels_where_any_sample_came_with_them(labels: list[int]) -> None:
    batch = FlatBatch.from_features([{"input_ids": [1]}, {"input_ids": [2], "labels": labels}])
    assert batch.has_labels
    assert all(part.has_labels for part in batch.split(1))
    assert not any(part.has_labels for part in FlatBatch.from_features([{"input_ids": [1]}, {"input_ids": [2]}]).split(1))
