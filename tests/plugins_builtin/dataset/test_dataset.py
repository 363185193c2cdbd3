"""Mapping, filtering, mixing and encoding in place."""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
from word_template import WordTemplate, conversation

import twinkle
from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.dataset import Dataset, DatasetMeta
from twinkle.preprocessor import GSM8KProcessor, Preprocessor, SelfCognitionProcessor

QUERIES = [{"query": f"who are you {n}", "response": "{{NAME}}"} for n in range(5)]
NAMES = {"model_name": "Twinkle", "model_author": "us"}


def memory(*texts: str) -> Dataset:
    return Dataset(DatasetMeta(data=[{**conversation(text), "n": n} for n, text in enumerate(texts)]))


def answers(dataset: Dataset) -> list[str]:
    return [row["messages"][2]["content"] for row in dataset]


@pytest.mark.parametrize(
    ("given", "init_args"),
    [
        (SelfCognitionProcessor, NAMES),
        (SelfCognitionProcessor("Twinkle", "us"), None),
        ("SelfCognitionProcessor", NAMES),
        ("self_cognition", NAMES),
        ("preprocessor:twinkle/self_cognition", NAMES),
        (lambda row: SelfCognitionProcessor("Twinkle", "us").preprocess(row), None),
        (functools.partial(lambda name, row: SelfCognitionProcessor(name, "us").preprocess(row), "Twinkle"), None),
        (twinkle.resolve("preprocessor", "self_cognition"), NAMES),
    ],
)
def test_map_takes_every_form_of_a_preprocessor(given: Any, init_args: Mapping[str, str] | None) -> None:
    dataset = Dataset(DatasetMeta(data=QUERIES))
    dataset.map(given, init_args=init_args)
    assert answers(dataset) == ["Twinkle"] * 5
    assert [row["query"] for row in dataset] == [row["query"] for row in QUERIES]


def test_map_gives_functions_a_row_and_with_batched_columns() -> None:
    dataset = Dataset(DatasetMeta(data=[{"n": 1}, {"n": 2}]))
    dataset.map(lambda row: {"double": 2 * row["n"]})
    dataset.map(lambda columns: {"sum": [sum(columns["n"])] * len(columns["n"])}, batched=True)
    assert [(row["double"], row["sum"]) for row in dataset] == [(2, 3), (4, 3)]


def test_map_passes_the_options_of_datasets_on() -> None:
    dataset = Dataset(DatasetMeta(data=[{"n": 1, "m": 5}]))
    dataset.map(lambda row, index: {"index": index}, with_indices=True, remove_columns=["m"], load_from_cache_file=False)
    assert list(dataset) == [{"n": 1, "index": 0}]


class OldForm(Preprocessor):
    """The published form: one ``__call__`` of a row."""

    def __call__(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"messages": [{"role": "user", "content": row["query"].upper()}]}


class ColumnForm(Preprocessor):
    """The later form: ``preprocess`` of a row, and a ``__call__`` of columns built on it."""

    def __call__(self, rows: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.map_row_to_col([self.preprocess(row) for row in self.map_col_to_row(rows)])

    def preprocess(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"messages": [{"role": "user", "content": row["query"].upper()}]}


@pytest.mark.parametrize("form", [OldForm, ColumnForm, OldForm(), ColumnForm()])
def test_both_published_forms_of_a_preprocessor_work(form: Any) -> None:
    dataset = Dataset(DatasetMeta(data=QUERIES))
    dataset.map(form)
    assert dataset[1]["messages"] == [{"role": "user", "content": "WHO ARE YOU 1"}]


def test_map_before_set_template_is_legal() -> None:
    dataset = Dataset(DatasetMeta(data=QUERIES))
    dataset.map("self_cognition", init_args=NAMES)
    dataset.set_template(WordTemplate())
    dataset.encode()
    assert all(row["input_ids"] for row in dataset)


def test_a_missing_column_is_named_with_those_there_are() -> None:
    dataset = Dataset(DatasetMeta(data=[{"question": "?", "solution": "!"}]))
    with pytest.raises(InvalidData, match=r"row 0 of .*GSM8KProcessor needs the column 'answer'; the row has 'question', 'solution'"):
        dataset.map(GSM8KProcessor)
    with pytest.raises(InvalidData, match=r"'answer', which row 0 of .* does not have; its columns: 'question', 'solution'"):
        dataset.map(lambda row: {"a": row["answer"]})


def test_an_error_of_a_function_keeps_its_type_and_says_the_row() -> None:
    dataset = Dataset(DatasetMeta(data=[{"n": 1}, {"n": 0}]))
    with pytest.raises(ZeroDivisionError) as caught:
        dataset.map(lambda row: {"inverse": 1 / row["n"]})
    assert any("row 1 of rows in memory" in note for note in caught.value.__notes__)


def test_rows_may_get_different_columns() -> None:
    dataset = Dataset(DatasetMeta(data=[{"n": 0}, {"n": 1}]))
    dataset.map(lambda row: {"odd": "yes"} if row["n"] else {"even": "yes"})
    assert [(row["even"], row["odd"]) for row in dataset] == [("yes", None), (None, "yes")]


def test_a_function_that_returns_no_row_is_told() -> None:
    with pytest.raises(InvalidData, match=r"returned NoneType for row 0.*rows are dropped with filter"):
        Dataset(DatasetMeta(data=QUERIES)).map(lambda row: None)


@pytest.mark.parametrize("method", ["map", "filter"])
def test_a_typo_in_an_option_is_told(method: str) -> None:
    with pytest.raises(InvalidArgument, match=r"'num_prc'.*'num_proc'"):
        getattr(Dataset(DatasetMeta(data=QUERIES)), method)(lambda row: row, num_prc=2)
    with pytest.raises(InvalidArgument, match=r"'model_nam'.*'model_name'"):
        Dataset(DatasetMeta(data=QUERIES)).map("self_cognition", init_args={"model_nam": "x"})


def test_an_unknown_preprocessor_is_told_with_a_suggestion() -> None:
    with pytest.raises(LookupError, match="self_cognition"):
        Dataset(DatasetMeta(data=QUERIES)).map("self_cogniton")


def test_filter_keeps_the_rows_that_a_function_wants() -> None:
    dataset = Dataset(DatasetMeta(data=[{"n": n} for n in range(6)]))
    dataset.filter(lambda row: row["n"] % 2 == 1)
    assert [row["n"] for row in dataset] == [1, 3, 5]
    assert dataset[-1] == {"n": 5}
    assert dataset[1:] == [{"n": 3}, {"n": 5}]


def test_filter_that_keeps_nothing_is_told() -> None:
    with pytest.raises(InvalidData, match="kept no row of rows in memory"):
        Dataset(DatasetMeta(data=QUERIES)).filter(lambda row: False)


# ---- encode


def test_encode_adds_columns_and_keeps_the_original_ones() -> None:
    dataset = memory("a bb", "ccc")
    dataset.set_template(WordTemplate())
    dataset.encode()
    assert dataset[0] == {
        **conversation("a bb"), "n": 0, "input_ids": [1, 2], "labels": [2, -100], "position_ids": [0, 1], "length": 2,
    }  # fmt: skip


@pytest.mark.parametrize("keep_columns", [True, False])
def test_encode_encodes_each_row_once_in_batches(keep_columns: bool) -> None:
    template = WordTemplate(keep_columns=keep_columns)
    dataset = memory(*(f"text {n}" for n in range(25)))
    dataset.set_template(template)
    dataset.encode(batch_size=10)
    assert template.calls == [10, 10, 5]
    assert template.encoded == [f"text {n}" for n in range(25)]
    assert [row["n"] for row in dataset] == list(range(25))


def test_encode_follows_rows_that_a_template_splits_or_deletes() -> None:
    dataset = memory("one", "drop this", "twice now", "four")
    dataset.set_template(WordTemplate())
    dataset.encode()
    assert [(row["n"], row["input_ids"]) for row in dataset] == [(0, [3]), (2, [5, 3]), (2, [5, 3]), (3, [4])]


def test_encode_survives_a_batch_of_which_nothing_is_left() -> None:
    dataset = memory("drop", "drop", "stay", "drop")
    dataset.set_template(WordTemplate())
    dataset.encode(batch_size=2)
    assert [row["n"] for row in dataset] == [2]


def test_encode_drops_rows_without_tokens() -> None:
    dataset = memory("", "b")
    dataset.set_template(WordTemplate())
    dataset.encode()
    assert [row["n"] for row in dataset] == [1]


def test_encode_that_leaves_nothing_is_told() -> None:
    dataset = memory("drop", "drop")
    dataset.set_template(WordTemplate())
    with pytest.raises(InvalidData, match=r"no row of rows in memory .* is left.*all 2"):
        dataset.encode()


def test_a_template_that_loses_track_of_its_rows_is_told() -> None:
    dataset = memory("one", "drop this", "three")
    dataset.set_template(WordTemplate(keep_columns=False))
    with pytest.raises(InvalidData, match="made 2 features of 3 rows"):
        dataset.encode()


def test_a_row_that_cannot_be_encoded_is_named() -> None:
    dataset = memory("fine", "refuse this", "fine too")
    dataset.set_template(WordTemplate())
    with pytest.raises(InvalidData, match=r"row 1 of rows in memory .* cannot be encoded: .*refuse this"):
        dataset.encode()


def test_encode_hands_the_generation_prompt_on_and_accepts_batched() -> None:
    dataset = memory("a")
    dataset.set_template(WordTemplate())
    dataset.encode(add_generation_prompt=True, batched=True)
    assert dataset[0]["input_ids"] == [1, 99]


def test_encoding_again_replaces_the_features() -> None:
    dataset = memory("a")
    dataset.set_template(WordTemplate())
    dataset.encode()
    dataset.encode(add_generation_prompt=True)
    assert dataset[0]["input_ids"] == [1, 99]
    assert dataset[0]["n"] == 0


def test_pairs_are_encoded_side_by_side() -> None:
    pairs = [("a good", "bad"), ("drop", "x")]
    rows = [{"positive": conversation(good), "negative": conversation(bad)} for good, bad in pairs]
    template = WordTemplate()
    dataset = Dataset(DatasetMeta(data=rows))
    dataset.set_template(template)
    dataset.encode()
    assert len(dataset) == 1
    assert (dataset[0]["positive"]["input_ids"], dataset[0]["negative"]["input_ids"]) == ([1, 4], [3])
    assert dataset[0]["positive"]["messages"] == conversation("a good")["messages"]
    assert template.calls == [2]


@pytest.mark.parametrize(("good", "bad"), [("", "b"), ("a", "")])
def test_a_pair_of_which_one_side_is_empty_is_dropped(good: str, bad: str) -> None:
    rows = [{"positive": conversation(a), "negative": conversation(b)} for a, b in [(good, bad), ("x", "yy")]]
    dataset = Dataset(DatasetMeta(data=rows))
    dataset.set_template(WordTemplate())
    dataset.encode()
    assert [(row["positive"]["input_ids"], row["negative"]["input_ids"]) for row in dataset] == [([1], [2])]


def test_check_drops_what_cannot_be_encoded_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    dataset = memory("fine", "refuse this", "drop", "good")
    dataset.set_template(WordTemplate())
    with caplog.at_level(logging.WARNING):
        dataset.check()
    assert [row["n"] for row in dataset] == [0, 3]
    assert "1 rows of rows in memory (train) cannot be encoded" in caplog.text
    assert "refuse this" in caplog.text


def test_messages_show_the_columns_of_a_row_and_none_of_ours(tiny_tokenizer_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = Dataset(DatasetMeta(data=[{"text": "a"}]))
    dataset.set_template("Template", model_id=tiny_tokenizer_folder)
    with pytest.raises(InvalidData, match=re.escape("this one has ['text']")):
        dataset.encode()
    with pytest.raises(InvalidData, match=re.escape("this one has ['text']")), caplog.at_level(logging.WARNING):
        dataset.check()
    assert "this one has ['text']" in caplog.text


def test_check_of_one_data_set_leaves_the_others() -> None:
    metas = [DatasetMeta(data=[conversation("fine"), conversation("refuse")]) for _ in range(2)]
    dataset = Dataset(metas[0])
    dataset.add_dataset(metas[1])
    dataset.set_template(WordTemplate())
    dataset.check(dataset_meta=metas[1])
    dataset.mix_dataset(interleave=False)
    assert [row["messages"][0]["content"] for row in dataset] == ["fine", "refuse", "fine"]


@pytest.mark.parametrize("method", ["encode", "check"])
def test_encode_and_check_need_a_template_and_rows(method: str) -> None:
    with pytest.raises(InvalidArgument, match="set_template"):
        getattr(memory("a"), method)()
    with pytest.raises(InvalidArgument, match="add_dataset"):
        getattr(Dataset(), method)()


# ---- several data sets


def several() -> tuple[Dataset, DatasetMeta, DatasetMeta]:
    first = DatasetMeta(data=[{"t": f"a{n}"} for n in range(4)])
    second = DatasetMeta(data=[{"t": f"b{n}"} for n in range(2)])
    dataset = Dataset(first)
    dataset.add_dataset(second)
    return dataset, first, second


def test_interleaving_takes_turns_until_the_shortest_ends() -> None:
    dataset, _, _ = several()
    dataset.mix_dataset()
    assert [row["t"] for row in dataset] == ["a0", "b0", "a1", "b1"]


def test_concatenating_keeps_every_row() -> None:
    dataset, _, _ = several()
    dataset.mix_dataset(interleave=False)
    assert [row["t"] for row in dataset] == ["a0", "a1", "a2", "a3", "b0", "b1"]


def test_map_changes_the_data_set_that_is_named() -> None:
    dataset, _, second = several()
    dataset.map(lambda row: {"t": row["t"].upper()}, dataset_meta=second)
    dataset.mix_dataset(interleave=False)
    assert [row["t"] for row in dataset][3:] == ["a3", "B0", "B1"]


def test_a_mapping_stands_for_the_meta_of_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"t": "a"}\n{"t": "b"}\n', encoding="utf-8")
    first, second = ({"dataset_id": str(path), "data_slice": rows} for rows in (range(1), range(1, 2)))
    dataset = Dataset(first)
    dataset.add_dataset(second)
    dataset.map(lambda row: {"t": row["t"].upper()}, dataset_meta=dict(second))
    dataset.mix_dataset(interleave=False)
    assert [row["t"] for row in dataset] == ["a", "B"]
    with pytest.raises(InvalidArgument, match=r"DatasetMeta does not take the argument 'splt'\. Did you mean 'split'"):
        Dataset({"dataset_id": str(path), "splt": "test"})


def test_a_method_that_needs_one_data_set_says_so() -> None:
    dataset, _, _ = several()
    for use in (lambda: dataset.map(lambda row: row), lambda: len(dataset), lambda: dataset[0]):
        with pytest.raises(InvalidArgument, match=r"2 data sets were added .*: call mix_dataset\(\) first"):
            use()
    with pytest.raises(InvalidArgument, match="was not added"):
        dataset.map(lambda row: row, dataset_meta=DatasetMeta("elsewhere"))
    with pytest.raises(InvalidArgument, match="several times"):
        dataset.map(lambda row: row, dataset_meta=DatasetMeta(data=[{"t": "x"}]))


def test_columns_that_do_not_fit_are_told_when_mixing() -> None:
    dataset = Dataset(DatasetMeta(data=[{"t": "text"}]))
    dataset.add_dataset(DatasetMeta(data=[{"t": [1, 2]}]))
    with pytest.raises(InvalidData, match="cannot be mixed"):
        dataset.mix_dataset()


# ---- the rest


def test_cast_column_changes_the_type() -> None:
    dataset = Dataset(DatasetMeta(data=[{"n": 1}]))
    dataset.cast_column("n", datasets.Value("string"))
    assert dataset[0] == {"n": "1"}
    with pytest.raises(InvalidArgument, match="no column 'm'; its columns: n"):
        dataset.cast_column("m", datasets.Value("string"))


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.csv"])
def test_what_is_saved_can_be_read_again(tmp_path: Path, name: str) -> None:
    rows = [{"n": 1, "t": '你好, "x"'}, {"n": 2, "t": "b"}]
    Dataset(DatasetMeta(data=rows)).save_as(tmp_path / "deep" / name)
    assert list(Dataset(str(tmp_path / "deep" / name))) == rows
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [name]


def test_save_as_names_the_formats_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="jsonl"):
        Dataset(DatasetMeta(data=QUERIES)).save_as(tmp_path / "x.xml")


def test_an_index_out_of_range_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        memory("a")[1]


def test_steps_over_files_leave_the_working_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "r.jsonl").write_text(json.dumps(QUERIES[0]))
    monkeypatch.chdir(tmp_path / "work")
    dataset = Dataset(str(tmp_path / "r.jsonl"))
    dataset.map("self_cognition", init_args=NAMES)
    assert list((tmp_path / "work").iterdir()) == []
