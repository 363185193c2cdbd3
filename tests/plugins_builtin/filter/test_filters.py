"""Which rows stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from word_template import WordTemplate, conversation

import twinkle
from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.dataset import Dataset, DatasetMeta
from twinkle.preprocessor import DataFilter, Filter, LengthFilter, NotEmptyFilter
from twinkle.preprocessor.base import DataFilter as BaseDataFilter


class Odd(Filter):
    def __call__(self, row: Mapping[str, Any]) -> bool:
        return bool(row["n"] % 2)


def test_the_published_name_is_an_alias() -> None:
    assert DataFilter is Filter is BaseDataFilter


@pytest.mark.parametrize(
    ("given", "init_args"),
    [(Odd, None), (Odd(), None), (lambda row: row["n"] % 2, None), ("length", {"column": "t", "min_length": 2, "max_length": 2})],
)
def test_a_data_set_filters_by_every_form(given: Any, init_args: Mapping[str, Any] | None) -> None:
    dataset = Dataset(DatasetMeta(data=[{"n": n, "t": "ab" if n % 2 else "c"} for n in range(6)]))
    dataset.filter(given, init_args=init_args)
    assert [row["n"] for row in dataset] == [1, 3, 5]


@pytest.mark.parametrize(("least", "most", "kept"), [(0, None, [0, 1, 2, 3]), (2, None, [2, 3]), (1, 2, [1, 2]), (3, 3, [3])])
def test_lengths_are_kept_within_both_bounds(least: int, most: int | None, kept: list[int]) -> None:
    keep = LengthFilter(min_length=least, max_length=most)
    assert [length for length in range(4) if keep({"input_ids": [7] * length})] == kept


def test_a_length_without_its_column_is_told() -> None:
    dataset = Dataset(DatasetMeta(data=[conversation("a b")]))
    with pytest.raises(InvalidData, match=r"row 0 of .*column 'input_ids'; the row has 'messages'; call encode\(\) first"):
        dataset.filter(LengthFilter(5))
    dataset.set_template(WordTemplate())
    dataset.encode()
    dataset.filter(LengthFilter(5))
    assert len(dataset) == 1
    with pytest.raises(InvalidData, match="kept no row"):
        dataset.filter(LengthFilter(1))


def test_bounds_that_keep_nothing_are_told() -> None:
    with pytest.raises(InvalidArgument, match="keeps nothing"):
        LengthFilter(max_length=2, min_length=3)


def test_a_row_with_a_hole_goes() -> None:
    keep = NotEmptyFilter(("a", "b"))
    assert all(keep({"a": 1, "b": value}) for value in ("a", 0, False, [0]))
    assert not any(keep({"a": 1, "b": value}) for value in (" \n", "", None, [], {}))


def test_columns_to_look_at_must_be_named_and_there() -> None:
    with pytest.raises(InvalidData, match="'c'; the row has 'a', 'b'"):
        NotEmptyFilter(["c"])({"a": 1, "b": 2})  # type: ignore[arg-type]
    for wrong in ((), "query"):
        with pytest.raises(InvalidArgument, match="names of columns"):
            NotEmptyFilter(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "init"), [("length", {}), ("LengthFilter", {}), ("not_empty", {"columns": ("a",)})])
def test_filters_resolve_by_name_and_can_be_kept(name: str, init: dict[str, Any]) -> None:
    keep = twinkle.build("filter", name, **init)
    assert isinstance(keep, Filter)
    assert isinstance(keep, LengthFilter | NotEmptyFilter) and keep.fingerprint() is not None


def test_a_filter_without_a_method_says_what_is_missing() -> None:
    class Empty(Filter):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty must define __call__\(row\)"):
        Empty()({})
