"""What a training step costs, in numbers that do not flicker: products, operations, bytes, and readings by the host.

The hand-written loop beside it is :class:`benchmarks.hand_loop.PackedLoop`: peft and torch without padding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_training import packed
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.counting import count_dispatched, count_flops
from benchmarks.hand_loop import PackedLoop
from benchmarks.sft_lora import Ours, features, least_flops, step_counts
from benchmarks.sft_workload import RANK, TINY, ModelShape, Row, make_batches, write_workload
from twinkle.model import TransformersModel
from twinkle.processor import InputProcessor

RAGGED = (41, 7, 64, 23)
LONG = (600, 250, 100, 250)


def rows_of(lengths: Sequence[int]) -> list[Row]:
    """A row for each length; a third of each is prompt."""
    return [Row(list(range(1, length + 1)), max(1, length // 3)) for length in lengths]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model of the benchmarks with its adapter."""
    where = tmp_path_factory.mktemp("tiny")
    write_workload(where, TINY, [])
    return where


def make(folder: Path, autocast: bool = False) -> TransformersModel:
    """Has made a step, so that nothing is done for the first time any more."""
    ours = Ours(folder, [rows_of(RAGGED)], autocast)
    ours.step()
    return ours.model


def stepping(model: TransformersModel, inputs: Any) -> Callable[[], None]:
    """A step that reads nothing."""

    def step() -> None:
        model.forward_backward(inputs=inputs)
        model.clip_grad_and_step()

    return step


def features_of(lengths: Sequence[int]) -> list[dict[str, Any]]:
    return [features(row) for row in rows_of(lengths)]


def flops_by_hand(shape: ModelShape, rows: Sequence[Row]) -> int:
    """4 P + 6 P_lora a token: two products of frozen weights, six of each adapter's. 4 H V a label: logits and their gradient by hidden.

    Attention is not among torch's counts on a CPU. The first layer's query, key and value have an input that nobody wants the gradient of.
    """
    linears = shape.linear_sizes
    frozen, adapters = (sum(sizes) for sizes in zip(*((o * i, RANK * (o + i)) for o, i in linears), strict=True))
    unwanted = sum(2 * o * i + 2 * RANK * i for o, i in linears[:3])
    num_tokens, num_labels = sum(len(row.input_ids) for row in rows), sum(row.num_labels for row in rows)
    return num_tokens * (shape.num_layers * (4 * frozen + 6 * adapters) - unwanted) + num_labels * 4 * shape.hidden_size * shape.vocab_size


@pytest.mark.parametrize("autocast", [False, True])
def test_products_are_those_of_the_tokens_and_labels_there_are(folder: Path, autocast: bool) -> None:
    """Mutants: a layer computed a second time, logits of prompts, a product for the gradient of frozen weights, rows padded."""
    model = make(folder, autocast)
    for lengths in (RAGGED, (5,), (64, 64)):
        rows = rows_of(lengths)
        assert count_flops(stepping(model, features_of(lengths))) == flops_by_hand(TINY, rows) == least_flops(TINY, rows)


def test_padding_costs_nothing(folder: Path) -> None:
    """However the samples come: as they are, padded on either side, or packed. Mutant: the padded batch as it is."""
    model, samples = make(folder), features_of(RAGGED)
    collated = [InputProcessor(padding_side=side)(samples) for side in ("right", "left")]
    counts = [
        (count_flops(step), attended(step)) for step in (stepping(model, inputs) for inputs in (samples, *collated, [packed(samples)]))
    ]
    assert counts == [counts[0]] * 4
    assert counts[0][1] == Counter(dict.fromkeys(RAGGED, TINY.num_layers))  # each sequence by itself, in each layer


def attended(step: Callable[[], None]) -> Counter[int]:
    """The numbers of queries that attention was called with, a row each."""
    with _Attended() as seen:
        step()
    return seen.lengths


class _Attended(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.lengths: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "scaled_dot_product" in str(func) and "backward" not in str(func):
            rows, _, length, _ = args[0].shape
            self.lengths[length] += rows
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("autocast", [False, True])
def test_a_step_costs_no_more_than_one_by_hand(folder: Path, autocast: bool) -> None:
    """Products within 2 % of the least, operations and bytes at the peak within 5 % of the hand-written loop's."""
    [batch] = make_batches(1, 8, 128)
    ours, by_hand = (trainer(folder, [batch], autocast).step() for trainer in (Ours, PackedLoop))
    assert ours == pytest.approx(by_hand, rel=1e-3 if autocast else 1e-5)  # else the comparison says nothing
    for count in step_counts(folder, TINY, batch, autocast):
        assert count.holds, count


def test_no_tensor_is_as_large_as_tokens_squared_or_tokens_by_vocabulary(folder: Path) -> None:
    """Nor scores of each sequence by itself: the largest is a tile of logits. Mutants: eager attention, a mask, whole logits."""
    model, rows = make(folder), rows_of(LONG)
    largest = count_dispatched(stepping(model, [features(row) for row in rows])).largest_numel
    scores = TINY.num_heads * max(LONG) ** 2
    logits = TINY.vocab_size * sum(row.num_labels for row in rows)
    assert largest <= 2**19 < min(scores, sum(LONG) ** 2, logits)


def test_operations_depend_on_the_rows_by_attention_alone(folder: Path) -> None:
    """Rows of one length are attended in one call, others in one each. Mutant: anything made for each row."""
    model = make(folder)

    def operations(lengths: Sequence[int]) -> Counter[str]:
        return Counter(count_dispatched(stepping(model, features_of(lengths))).by_name)

    assert operations((64, 64)) == operations((16,) * 8)
    few, many = operations((60, 68)), operations((9, 12, 15, 16, 18, 20, 38))
    assert not few - many
    per_row = {name: number / (5 * TINY.num_layers) for name, number in (many - few).items()}
    of_attention = {name for name in per_row if "scaled_dot_product" in name}
    assert all(number == 1 for name, number in per_row.items() if name in of_attention) and len(of_attention) == 2
    assert sum(number for name, number in per_row.items() if name not in of_attention) <= 8, per_row  # views, and their gradients


def test_the_host_reads_nothing_from_the_device_in_a_step(folder: Path) -> None:
    """Nothing waits: neither a number nor a shape that depends on values is read. The loss is, by who wants to know it.

    On a CPU tensors made of samples do not count, which the host has anyway; a mask as an index would wait and is not seen here. Mutants:
    ``.item()`` on a denominator, the loss read in the step.
    """
    model = make(folder)
    waiting = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.equal.default", "aten.masked_select.default"}
    for inputs in (features_of(RAGGED), InputProcessor(padding_free=True)(features_of(RAGGED))):
        for options in ({}, {"micro_batch_size": 2}):

            def step(inputs: Any = inputs, options: Any = options) -> None:
                model.forward_backward(inputs=inputs, **options)
                model.clip_grad_and_step()

            assert not waiting & count_dispatched(step).by_name.keys()
    outputs = model.forward_backward(inputs=features_of(RAGGED))
    assert count_dispatched(lambda: outputs["loss"]).by_name["aten._local_scalar_dense.default"] == 1
    model.clip_grad_and_step()


def test_operations_of_the_optimizer_do_not_depend_on_the_number_of_parameters(tmp_path: Path) -> None:
    """Mutant: a loop over gradients."""
    found = []
    for num_layers in (1, 5):
        where = tmp_path / str(num_layers)
        write_workload(where, replace(TINY, num_layers=num_layers), [])
        model = make(where)
        model.forward_backward(inputs=features_of(RAGGED))
        found.append(count_dispatched(model.clip_grad_and_step).by_name)
    assert found[0] == found[1]
    assert sum(found[0].values()) <= 40
