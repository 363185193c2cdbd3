"""Where rows come from, and what is said when they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from word_template import WordTemplate

from twinkle.core.errors import HubUnavailable, InvalidArgument, InvalidData
from twinkle.core.repository_files import DATA_SUFFIXES
from twinkle.core.runtime.context import ProcessContext
from twinkle.dataset import Dataset, DatasetMeta, IterableDataset
from twinkle.plugins_builtin.dataset._source import _READERS

ROWS = [{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "c", "n": 3}]


def write_jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def mirror(tmp_path: Path, context: ProcessContext) -> Path:
    root = tmp_path / "mirror"
    context.settings = replace(context.settings, hub_mirror=root)
    return root


def _json(path: Path) -> None:
    path.write_text(json.dumps(ROWS))


def _csv(path: Path) -> None:
    path.write_text("name,n\na,1\nb,2\nc,3\n")


def _parquet(path: Path) -> None:
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(("name", "write"), [("r.jsonl", write_jsonl), ("r.json", _json), ("r.csv", _csv), ("r.parquet", _parquet)])
def test_files_of_every_format_give_the_same_rows(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / name)
    assert list(Dataset(DatasetMeta(str(tmp_path / name)))) == ROWS


def test_text_files_give_a_row_a_line(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("one\ntwo\n")
    assert list(Dataset(str(tmp_path / "r.txt"))) == [{"text": "one"}, {"text": "two"}]


def test_csv_keeps_words_that_pandas_takes_for_missing_values(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("answer\nNA\nnull\n")
    assert [row["answer"] for row in Dataset(str(tmp_path / "r.csv"))] == ["NA", "null"]


@pytest.mark.parametrize(
    "data",
    [
        ROWS,
        {"name": ["a", "b", "c"], "n": [1, 2, 3]},
        datasets.Dataset.from_list(ROWS),
        datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)),
        lambda: ROWS,
        lambda: iter(ROWS),
    ],
)
def test_rows_in_memory_come_in_every_form(data: Any) -> None:
    assert list(Dataset(DatasetMeta(data=data))) == ROWS


def test_rows_in_memory_may_differ_in_columns() -> None:
    assert list(Dataset(DatasetMeta(data=[{"a": 1}, {"b": 2}]))) == [{"a": 1, "b": None}, {"a": None, "b": 2}]


@pytest.mark.parametrize("dataset_id", ["ms://swift/tiny", "swift/tiny"])
def test_an_id_without_a_scheme_means_modelscope(mirror: Path, dataset_id: str) -> None:
    write_jsonl(mirror / "ms/swift/tiny/train.jsonl")
    assert len(Dataset(DatasetMeta(dataset_id))) == 3


def test_a_mirror_holds_splits_and_subsets(mirror: Path) -> None:
    write_jsonl(mirror / "hf/o/n/train.jsonl")
    write_jsonl(mirror / "hf/o/n/main/test.jsonl", ROWS[:2])
    assert len(Dataset(DatasetMeta("hf://o/n"))) == 3
    assert len(Dataset(DatasetMeta("hf://o/n", subset_name="main", split="test"))) == 2


def test_shards_of_a_split_belong_together(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d/data/train-00000-of-00002.jsonl", ROWS[:1])
    write_jsonl(tmp_path / "d/data/train-00001-of-00002.jsonl", ROWS[1:])
    assert list(Dataset(str(tmp_path / "d"))) == ROWS


def test_a_repository_of_one_file_is_its_train_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d/self_cognition.jsonl")
    assert len(Dataset(str(tmp_path / "d"))) == 3


def test_the_test_split_never_stands_in_for_train(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d/test.jsonl")
    with pytest.raises(InvalidData, match=r"no split 'train'.*there is 'test'"):
        Dataset(str(tmp_path / "d"))


def test_an_unknown_split_lists_those_there_are(mirror: Path) -> None:
    write_jsonl(mirror / "ms/o/n/train.jsonl")
    write_jsonl(mirror / "ms/o/n/validation.jsonl")
    with pytest.raises(InvalidData, match=r"no split 'test'.*there is 'train', 'validation'"):
        Dataset(DatasetMeta("ms://o/n", split="test"))


def test_an_unknown_subset_lists_those_there_are(mirror: Path) -> None:
    write_jsonl(mirror / "ms/o/n/main/train.jsonl")
    write_jsonl(mirror / "ms/o/n/socratic/train.jsonl")
    with pytest.raises(InvalidData, match=r"no subset 'mian'.*there is 'main', 'socratic'"):
        Dataset(DatasetMeta("ms://o/n", subset_name="mian"))


def test_a_repository_that_the_mirror_lacks_is_told(mirror: Path) -> None:
    with pytest.raises(HubUnavailable, match="not in the mirror"):
        Dataset("ms://o/absent")


def test_a_missing_file_is_told_as_a_file() -> None:
    with pytest.raises(InvalidData, match=r"there is no file data/train\.jsonl"):
        Dataset("data/train.jsonl")


def test_a_file_of_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text("<a/>")
    with pytest.raises(InvalidData, match=r"r\.xml: expected a file that ends in \.jsonl"):
        Dataset(str(tmp_path / "r.xml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1}\n{"a": 2\n{"a": 3}\n', "line 2 is broken JSON"),
        ('{"a": 1}\n\n[2]\n', "line 3: expected a JSON object"),
        ('{"a": 1}\n{"a": 2}\nnot json\n', "line 3 is broken JSON"),
        ('[{"a": 1},\n {"a": }]', "line 2 is broken JSON"),
        ('{"a": 1}\n{"a": "x}\n', "line 2 is broken JSON"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, text: str, told: str, streaming: bool) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InvalidData, match=told) as caught:
        list(Dataset(str(tmp_path / "r.json"), streaming=streaming))
    assert str(tmp_path / "r.json") in str(caught.value)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("")
    with pytest.raises(InvalidData, match=r"r\.jsonl is empty"):
        Dataset(str(tmp_path / "r.jsonl"))


@pytest.mark.parametrize("data", [[], {"a": []}, lambda: []])
def test_an_empty_data_set_in_memory_is_told(data: Any) -> None:
    with pytest.raises(InvalidData, match="holds no rows"):
        Dataset(DatasetMeta(data=data))


def test_a_slice_wraps_modulo_the_length_and_keeps_its_order() -> None:
    dataset = Dataset(DatasetMeta(data=ROWS, data_slice=[4, 0, -1, 7]))
    assert [row["n"] for row in dataset] == [2, 1, 3, 2]


def test_a_slice_of_a_stream_is_a_range() -> None:
    rows = [{"n": n} for n in range(20)]
    dataset = Dataset(DatasetMeta(data=rows, data_slice=range(3, 12, 4)), streaming=True)
    assert [row["n"] for row in dataset] == [3, 7, 11]
    with pytest.raises(InvalidArgument, match="a range that counts up"):
        Dataset(DatasetMeta(data=rows, data_slice=[1, 2]), streaming=True)


@pytest.mark.parametrize("wrong", [100, "range(3)", ["a"], [0.5], range(0), [], {"a": 1}])
def test_a_wrong_slice_is_told(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="data_slice"):
        DatasetMeta("x", data_slice=wrong)


def test_a_meta_needs_an_id_or_rows_and_not_both() -> None:
    for arguments in ({}, {"dataset_id": "x", "data": ROWS}):
        with pytest.raises(InvalidArgument, match="one of dataset_id"):
            DatasetMeta(**arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="rows in memory go into data="):
        DatasetMeta(ROWS)  # type: ignore[arg-type]


def test_the_id_of_a_meta_names_id_subset_and_split() -> None:
    assert DatasetMeta("ms://a/b.c", subset_name="main", split="test").get_id() == "ms:__a_b_c:main:test"


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "r.jsonl")
    assert len(Dataset(str(path))) == 3
    write_jsonl(path, [*ROWS, {"name": "d", "n": 4}])
    assert len(Dataset(str(path))) == 4


def test_a_typo_in_an_argument_is_told_with_a_suggestion() -> None:
    with pytest.raises(InvalidArgument, match=r"'steaming'.*'streaming'"):
        Dataset(DatasetMeta(data=ROWS), steaming=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("streaming", [False, True])
def test_caches_lie_in_the_home_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "elsewhere")
    dataset = Dataset(str(write_jsonl(tmp_path / "r.jsonl")), streaming=streaming)
    dataset.map(lambda row: {"m": row["n"]})
    assert [row["m"] for row in dataset] == [1, 2, 3]
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("dataset_class", [Dataset, IterableDataset])
def test_blank_lines_of_a_text_file_are_no_rows(dataset_class: type[Dataset], tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("one\n\n  two \n \t\nthree\n\n", encoding="utf-8")
    rows = dataset_class(DatasetMeta(path, data_slice=range(3)))
    assert [row["text"] for row in rows] == ["one", "  two ", "three"]


def test_a_text_file_of_blank_lines_holds_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("\n \n\n", encoding="utf-8")
    with pytest.raises(InvalidData, match=r"corpus\.txt \(train\) holds no rows"):
        Dataset(str(path))


@pytest.mark.parametrize("dataset_class", [Dataset, IterableDataset])
@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.jsonl", '{"text": "ok"}\n{"text": "caf\xe9 bar"}\n', 2),
        ("a.json", '[{"text": "ok"},\n{"text": "caf\xe9"}]', 2),
        ("a.txt", "ok\nok\ncaf\xe9\n", 3),
        ("a.csv", "text\nok\ncaf\xe9\n", 3),
    ],
)
def test_a_line_that_is_not_utf8_is_named(dataset_class: type[Dataset], name: str, text: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidData, match=rf"{name}, line {line} is not UTF-8: byte 0xe9 after .*caf"):
        list(dataset_class(str(path)))


def test_a_line_that_is_not_utf8_is_named_wherever_its_row_is_first_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"text": "caf\xe9 bar"}\n'.encode("latin-1"))
    for read in (lambda d: d[0], lambda d: d.fetch([0]), lambda d: d.map(lambda row: row), lambda d: d.filter(lambda row: True)):
        with pytest.raises(InvalidData, match=r"a\.jsonl, line 1 is not UTF-8"):
            read(Dataset(str(path)))
    dataset = Dataset(str(path))
    dataset.set_template(WordTemplate())
    with pytest.raises(InvalidData, match=r"a\.jsonl, line 1 is not UTF-8"):
        dataset.encode()


@pytest.mark.parametrize("num_proc", ["2", 0, -1, True, 1.5])
def test_a_number_of_processes_that_is_none_is_refused(num_proc: Any, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl")
    dataset = Dataset(str(path))
    dataset.set_template(WordTemplate())
    for call in (
        lambda: Dataset(str(path), num_proc=num_proc),
        lambda: dataset.encode(num_proc=num_proc),
        lambda: dataset.map(str, num_proc=num_proc),
    ):
        with pytest.raises(InvalidArgument, match="num_proc: expected 1 or more processes"):
            call()


def test_files_that_can_be_read_are_those_that_an_id_may_end_as() -> None:
    assert tuple(_READERS) == DATA_SUFFIXES
