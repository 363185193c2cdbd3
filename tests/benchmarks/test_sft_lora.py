"""The check of the fine-tuning benchmark on a tiny model: two ways to train agree, and one that is a little wrong does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bench import OURS
from benchmarks.hand_loop import PackedLoop, PaddedLoop
from benchmarks.sft_lora import NUM_CHECKED, Ours, check_training, name_of
from benchmarks.sft_workload import MAX_GRAD_NORM, TINY, Row, make_batches, make_equal_batches, write_workload

BATCHES = make_batches(2, 8, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with its adapter."""
    where = tmp_path_factory.mktemp("tiny")
    write_workload(where, TINY, BATCHES)
    return where


def check(folder: Path, loop: PaddedLoop, batches: list[list[Row]] = BATCHES) -> None:
    """``loop`` beside ours."""
    check_training({OURS: Ours(folder, batches, False), "loop": loop}, {}, num_steps=NUM_CHECKED, autocast=False)


@pytest.mark.parametrize("batches", [BATCHES, make_equal_batches(2, 4, 16)])
@pytest.mark.parametrize("kind", [PackedLoop, PaddedLoop])
def test_both_loops_by_hand_train_as_ours_does(folder: Path, kind: type[PaddedLoop], batches: list[list[Row]]) -> None:
    check(folder, kind(folder, batches, False), batches)


def test_a_loop_that_does_not_clip_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By losses and by weights; the workload's bound is one that clips."""
    monkeypatch.setattr("benchmarks.hand_loop.MAX_GRAD_NORM", 10 * MAX_GRAD_NORM)
    with pytest.raises(AssertionError, match="loss of step"):
        check(folder, PackedLoop(folder, BATCHES, False))


def test_a_loop_that_decays_weights_is_found(folder: Path) -> None:
    """By its weights alone: the losses are within their tolerance."""
    loop = PackedLoop(folder, BATCHES, False)
    loop._optimizer.param_groups[0]["weight_decay"] = 0.01
    with pytest.raises(AssertionError, match=r"lora_A.* off ours"):
        check(folder, loop)


@pytest.mark.parametrize("kind", ["lora_A", "lora_B"])
def test_a_loop_that_leaves_a_tensor_out_is_found(folder: Path, kind: str) -> None:
    loop = PackedLoop(folder, BATCHES, False)
    next(weights for name, weights in loop.model.named_parameters() if kind in name).requires_grad_(False)
    with pytest.raises(AssertionError):
        check(folder, loop)


def test_a_case_says_what_is_trained_on_what() -> None:
    assert name_of(TINY, make_equal_batches(1, 8, 88)) == "0.1 M parameters, batches of 8 rows of 88 tokens each"
    assert name_of(TINY, make_batches(2, 8, 256)) == "0.1 M parameters, batches of 8 ragged rows up to 190 tokens"
