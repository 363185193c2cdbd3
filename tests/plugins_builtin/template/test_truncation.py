"""Samples longer than allowed, in every strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from twinkle.core.errors import InvalidArgument, InvalidConfig, InvalidData
from twinkle.template import Template

ROW: Any = {
    "messages": [
        {"role": "user", "content": "What is 3 + 4?"},
        {"role": "assistant", "content": "First the numbers are added."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "The answer is 7. 🎉"},
    ],
    "id": 5,
}
MAX = 17


def expected(ids: list[int], trained: list[bool]) -> dict[str, Any]:
    labels = [ids[i + 1] if trained[i + 1] else -100 for i in range(len(ids) - 1)] + [-100]
    n = len(ids)
    return {**ROW, "input_ids": ids, "attention_mask": [1] * n, "position_ids": list(range(n)), "labels": labels, "length": n}


def whole(template: Template) -> tuple[list[int], list[bool]]:
    feature = template.encode(ROW)
    return feature["input_ids"], [False, *(label != -100 for label in feature["labels"][:-1])]


def test_left_keeps_the_end(tiny: Callable[..., Template]) -> None:
    ids, trained = whole(tiny())
    assert len(ids) > 2 * MAX
    assert tiny(max_length=MAX, truncation_strategy="left").batch_encode([ROW]) == [expected(ids[-MAX:], trained[-MAX:])]


def test_right_keeps_the_beginning(tiny: Callable[..., Template]) -> None:
    ids, trained = whole(tiny())
    assert tiny(max_length=MAX, truncation_strategy="right").batch_encode([ROW]) == [expected(ids[:MAX], trained[:MAX])]


def test_split_keeps_everything_in_order(tiny: Callable[..., Template]) -> None:
    ids, trained = whole(tiny())
    pieces = tiny(max_length=MAX, truncation_strategy="split").batch_encode([ROW])
    assert pieces == [expected(ids[i : i + MAX], trained[i : i + MAX]) for i in range(0, len(ids), MAX)]
    assert [token for piece in pieces for token in piece["input_ids"]] == ids


def test_delete_leaves_nothing(tiny: Callable[..., Template]) -> None:
    assert tiny(max_length=MAX, truncation_strategy="delete").batch_encode([ROW]) == []


@pytest.mark.parametrize("strategy", ["left", "right", "split", "delete", "raise"])
def test_a_sample_of_just_the_allowed_length_stays_whole(strategy: str, tiny: Callable[..., Template]) -> None:
    ids, trained = whole(tiny())
    assert tiny(max_length=len(ids), truncation_strategy=strategy).batch_encode([ROW]) == [expected(ids, trained)]


@pytest.mark.parametrize("strategy", ["left", "right", "split"])
@pytest.mark.parametrize("max_length", [1, 2, 3, 17, 30])
def test_the_last_position_is_never_trained(strategy: str, max_length: int, tiny: Callable[..., Template]) -> None:
    text = {"text": "a b c d e f g h i j k l m n o p q r s t u v w x y z"}
    chat = tiny(max_length=max_length, truncation_strategy=strategy)
    plain = tiny(max_length=max_length, truncation_strategy=strategy, use_chat_template=False)
    for feature in [*chat.batch_encode([ROW]), *plain.batch_encode([text])]:  # type: ignore[list-item]
        assert feature["labels"][-1] == -100
        for label, target in zip(feature["labels"], feature["input_ids"][1:], strict=False):
            assert label in (-100, target)


def test_a_too_long_sample_is_named_with_its_length_and_what_to_do(tiny: Callable[..., Template]) -> None:
    num_tokens = len(whole(tiny())[0])
    short: Any = {"messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(
        InvalidData, match=rf"row 1 of this batch of 2 \('What is 3 \+ 4\?'\): {num_tokens} tokens .*max_length=17: .*'split'"
    ):
        tiny(max_length=MAX).batch_encode([short, ROW])


def test_a_generation_prompt_is_not_cut_off(tiny: Callable[..., Template]) -> None:
    ids = tiny().encode(ROW, add_generation_prompt=True)["input_ids"]
    left = tiny(max_length=MAX, truncation_strategy="left").encode(ROW, add_generation_prompt=True)
    assert left["input_ids"] == ids[-MAX:]
    assert left["labels"] == [-100] * MAX
    for strategy in ("right", "split"):
        with pytest.raises(InvalidData, match="would cut off the generation prompt"):
            tiny(max_length=MAX, truncation_strategy=strategy).encode(ROW, add_generation_prompt=True)


def test_encode_gives_one_feature_or_says_why_not(tiny: Callable[..., Template]) -> None:
    with pytest.raises(InvalidData, match="call batch_encode"):
        tiny(max_length=MAX, truncation_strategy="split").encode(ROW)
    with pytest.raises(InvalidData, match="makes 0 samples"):
        tiny(max_length=MAX, truncation_strategy="delete").encode(ROW)


def test_no_bound_is_a_bound_that_nothing_reaches(tiny: Callable[..., Template]) -> None:
    long: Any = {"messages": [{"role": "user", "content": "a b " * 10_000}]}
    assert tiny(max_length=None).encode(long)["length"] > 8192


def test_impossible_settings_are_refused(tiny: Callable[..., Template]) -> None:
    with pytest.raises(InvalidConfig, match=r"'spilt'.*Did you mean 'split'"):
        tiny(truncation_strategy="spilt")
    with pytest.raises(InvalidConfig, match="max_length=0"):
        tiny(max_length=0)


@pytest.mark.parametrize("max_length", ["10", 1.5, True])
def test_a_bound_that_is_no_whole_number_is_refused_when_the_template_is_made(tiny: Callable[..., Template], max_length: Any) -> None:
    with pytest.raises(InvalidArgument, match="max_length: expected a whole number"):
        tiny(max_length=max_length)


def test_a_bound_may_be_a_number_of_numpy(tiny: Callable[..., Template]) -> None:
    assert tiny(max_length=np.int64(8)).max_length == 8
