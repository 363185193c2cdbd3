"""Rows and columns: what travels along, pairs, checking, and nothing that is mutated."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from twinkle.core.errors import HubUnavailable, InvalidArgument, InvalidData
from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.settings import Settings
from twinkle.template import Template


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ROWS: Any = [{**chat("Who?", "I"), "user_data": [("k", 1)]}, {**chat("What?", "a long answer " * 5), "user_data": []}]
KEYS = {"input_ids", "attention_mask", "position_ids", "labels", "length"}


def test_a_list_carries_every_column_of_its_rows(tiny: Callable[..., Template]) -> None:
    before = copy.deepcopy(ROWS)
    features = tiny().batch_encode(ROWS)
    assert [set(feature) for feature in features] == [{"messages", "user_data"} | KEYS] * 2
    assert [feature["messages"] for feature in features] == [row["messages"] for row in ROWS]  # type: ignore[typeddict-item]
    assert before == ROWS


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_columns_give_the_columns_of_the_features(tiny: Callable[..., Template]) -> None:
    features = tiny().batch_encode(ROWS)
    assert tiny().batch_encode(columns_of(ROWS)) == {key: [feature[key] for feature in features] for key in KEYS}  # type: ignore[literal-required]


class LazyColumns(MutableMapping[str, list[Any]]):
    """Columns that are decoded when asked for, as the batches of ``datasets``."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns, self.read = columns, set[str]()

    def __getitem__(self, name: str) -> list[Any]:
        self.read.add(name)
        return self.columns[name]

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __setitem__(self, name: str, value: list[Any]) -> None:
        raise AssertionError("written")

    def __delitem__(self, name: str) -> None:
        raise AssertionError("deleted")


def test_columns_that_encoding_does_not_need_are_not_read(tiny: Callable[..., Template]) -> None:
    columns = LazyColumns(columns_of(ROWS))
    tiny().batch_encode(columns)
    assert columns.read == {"messages"}


def test_columns_are_repeated_where_rows_are_split_or_deleted(tiny: Callable[..., Template]) -> None:
    split = tiny(max_length=20, truncation_strategy="split").batch_encode(columns_of(ROWS))
    assert split["user_data"] == [[("k", 1)], *[[]] * (len(split["input_ids"]) - 1)]
    assert len(split["input_ids"]) > 2
    deleted = tiny(max_length=20, truncation_strategy="delete").batch_encode(columns_of(ROWS))
    assert deleted["user_data"] == [[("k", 1)]]
    assert {len(values) for values in deleted.values()} == {1}
    nothing = tiny(max_length=1, truncation_strategy="delete").batch_encode(columns_of(ROWS))
    assert nothing == {key: [] for key in KEYS | {"messages", "user_data"}}


def test_each_trajectory_of_a_pair_gets_a_feature(tiny: Callable[..., Template]) -> None:
    template = tiny()
    good, bad = {**chat("Who?", "I"), "score": 1}, chat("Who?", "nobody")
    row: Any = {"positive": good, "negative": bad, "margin": 0.5}
    expected = {"positive": template.encode(good), "negative": template.encode(bad)}  # type: ignore[arg-type]
    assert template.encode(row) == {**expected, "margin": 0.5}
    assert template.batch_encode(columns_of([row, row])) == {side: [feature] * 2 for side, feature in expected.items()}


def test_a_pair_stays_together(tiny: Callable[..., Template]) -> None:
    pair: Any = {"positive": chat("Who?", "I"), "negative": chat("Who?", "nobody " * 50)}
    assert tiny(max_length=20, truncation_strategy="delete").batch_encode([pair]) == []
    assert tiny(max_length=20, truncation_strategy="delete").batch_encode(columns_of([pair])) == {"positive": [], "negative": []}
    with pytest.raises(InvalidData, match="tear apart"):
        tiny(max_length=20, truncation_strategy="split").batch_encode([pair])


def test_check_gives_a_row_or_none(tiny: Callable[..., Template]) -> None:
    bad: Any = {"messages": []}
    template = tiny(max_length=20)
    assert template.check(ROWS[0]) is ROWS[0]
    assert template.batch_check([ROWS[0], bad, ROWS[1]]) == [ROWS[0], None, None]
    assert tiny(max_length=20, truncation_strategy="delete").batch_check(ROWS) == [ROWS[0], None]
    checked = template.batch_check({"messages": [ROWS[0]["messages"], []]})
    assert checked == [{"messages": ROWS[0]["messages"]}, None]


def test_an_empty_batch_is_no_error(tiny: Callable[..., Template]) -> None:
    assert tiny().batch_encode([]) == []
    assert tiny().batch_encode({"messages": []}) == {key: [] for key in KEYS}


def test_a_template_travels_to_another_process(tiny: Callable[..., Template]) -> None:
    template = tiny(max_length=100)
    expected = template.batch_encode(ROWS)
    assert pickle.loads(pickle.dumps(template)).batch_encode(ROWS) == expected


def test_decoding_is_the_way_back(tiny: Callable[..., Template]) -> None:
    template = tiny()
    ids = template.encode(ROWS[0])["input_ids"]
    text = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nI<|im_end|>\n"
    assert template.decode(ids) == text
    assert template.batch_decode([ids, ids[:1]], skip_special_tokens=True) == ["user\nWho?\nassistant\nI\n", ""]


def test_a_model_id_is_looked_up_in_the_mirror(tiny_tokenizer_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ms/Qwen").mkdir(parents=True)
    (tmp_path / "ms/Qwen/Qwen3-4B").symlink_to(tiny_tokenizer_folder)
    with use_context(ProcessContext.fresh(Settings.load(environ={"TWINKLE_HUB_MIRROR": str(tmp_path)}, project=tmp_path))):
        template = Template("ms://Qwen/Qwen3-4B")
        assert template.encode(ROWS[0]) == Template(tiny_tokenizer_folder).encode(ROWS[0])
        assert template.model_id == "ms://Qwen/Qwen3-4B"
        assert template.processor is template.tokenizer
        assert template.is_mm is False
        with pytest.raises(HubUnavailable):
            Template("ms://Qwen/other")


@pytest.mark.parametrize("given", [[chat("Who?", "I")], "Who?", None])
def test_encode_takes_one_row(given: Any, tiny: Callable[..., Template]) -> None:
    with pytest.raises(InvalidArgument, match=f"expected one row, a mapping with 'messages', got {type(given).__name__}; batch_encode"):
        tiny().encode(given)


def test_a_row_that_is_no_mapping_is_named(tiny: Callable[..., Template]) -> None:
    rows: Any = [chat("Who?", "I"), "What?"]
    with pytest.raises(InvalidData, match="row 1 of this batch of 2: expected a mapping with 'messages', got str"):
        tiny().batch_encode(rows)
    assert tiny().batch_check(rows) == [rows[0], None]


@pytest.mark.parametrize("broken", [chat("Who? \ud800", "I"), chat("Who?", "I\udc00")])
def test_half_a_surrogate_pair_is_named_with_its_row(broken: Any, tiny: Callable[..., Template]) -> None:
    rows: Any = [chat("Who?", "I"), broken, chat("What?", "It")]
    with pytest.raises(InvalidData, match=r"row 1 of this batch of 3 .*: the text holds .*half of a surrogate pair"):
        tiny().batch_encode(rows)
    with pytest.raises(InvalidData, match=r"this row .*half of a surrogate pair"):
        tiny().encode(broken)
    assert tiny().batch_check(rows) == [rows[0], None, rows[2]]
