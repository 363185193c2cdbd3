"""Comparing what functions of rows give, and noticing when they change a row."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twinkle.testing.check import expect

RowFunction = Callable[[Mapping[str, Any]], Any]


def leaves_rows(function: RowFunction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Fails where ``function`` changes a row that it got."""
    for index, row in enumerate(rows):
        given = copy.deepcopy(dict(row))
        function(given)
        expect(given == dict(row), f"row {index} was {dict(row)!r} and is {given!r} afterwards")


def needs_no_other_row(function: RowFunction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Fails where a row's result depends on which rows came before."""
    forwards = [copy.deepcopy(function(copy.deepcopy(row))) for row in rows]
    backwards = [copy.deepcopy(function(copy.deepcopy(row))) for row in reversed(rows)][::-1]
    wrong = [index for index, (one, other) in enumerate(zip(forwards, backwards, strict=True)) if one != other]
    expect(not wrong, f"row {wrong[0] if wrong else ''} gives another result when the rows come in reverse order")


def works_as_a_copy(component: Any, call: Callable[[Any], RowFunction], rows: Sequence[Mapping[str, Any]]) -> None:
    """Fails where a pickled copy of ``component`` gives other results."""
    function, copied = call(component), call(pickle.loads(pickle.dumps(component)))
    for index, row in enumerate(rows):
        expect(function(copy.deepcopy(row)) == copied(copy.deepcopy(row)), f"row {index} gives another result in another process")
