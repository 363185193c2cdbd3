"""What a preprocessor keeps: a pure function of one row, with the same columns for each."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from twinkle.testing.check import NotApplicable, check, expect
from twinkle.testing.example import RowExample
from twinkle.testing.row_result import RowFunction, leaves_rows, needs_no_other_row, works_as_a_copy
from twinkle.testing.specimen import Specimen


def _row_function(preprocessor: Any) -> RowFunction:
    function: RowFunction = preprocessor if inspect.isfunction(preprocessor) else preprocessor.preprocess
    return function


def _function_and_rows(component: Specimen) -> tuple[RowFunction, list[dict[str, Any]]]:
    rows = [dict(row) for row in component.example_of(RowExample).rows]
    return _row_function(component.build()), rows


@check("preprocessor")
def gives_a_trajectory(component: Specimen) -> None:
    """A row becomes a mapping whose 'messages', where there are any, are a list of {role, content}; all of it is plain data.

    Data sets keep their rows in tables: numbers, texts, lists and mappings of these."""
    function, rows = _function_and_rows(component)
    for index, row in enumerate(rows):
        result = function(row)
        expect(isinstance(result, Mapping), f"row {index} gives a {type(result).__name__}, not a mapping")
        try:
            json.dumps(dict(result))
        except (TypeError, ValueError) as error:
            expect(False, f"row {index} gives what no table can hold: {error}")
        messages = result.get("messages", [])
        roles = [m.get("role") if isinstance(m, Mapping) else None for m in messages] if isinstance(messages, list) else [None]
        are_messages = all(isinstance(role, str) for role in roles)
        expect(are_messages, f"row {index}: expected messages as a list of {{role, content}}, got {messages!r}")


@check("preprocessor")
def gives_every_row_the_same_columns(component: Specimen) -> None:
    """Every row gets the same columns: a table has no others. Give None, or an empty list, where a row lacks something."""
    function, rows = _function_and_rows(component)
    columns = [sorted(function(row)) for row in rows]
    other = next((c for c in columns if c != columns[0]), None)
    expect(other is None, f"one row gets the columns {columns[0]}, another {other}")


@check("preprocessor")
def rows_and_columns_agree(component: Specimen) -> None:
    """Called with a batch of columns, as datasets' map(batched=True) does, it gives the columns of what the rows give."""
    preprocessor = component.build()
    if inspect.isfunction(preprocessor) or not callable(preprocessor):
        raise NotApplicable("it takes single rows only")
    rows = [dict(row) for row in component.example_of(RowExample).rows]
    one_by_one = [preprocessor.preprocess(row) for row in rows]
    columns = preprocessor({name: [row[name] for row in rows] for name in rows[0]})
    for name in one_by_one[0]:
        expected = [result[name] for result in one_by_one]
        expect(list(columns.get(name, ())) == expected, f"the column {name!r} of a batch is not that of its rows")


@check("preprocessor")
def leaves_the_row(component: Specimen) -> None:
    """The row that comes in stays as it is, the lists in it included: it may be mapped again."""
    leaves_rows(*_function_and_rows(component))


@check("preprocessor")
def keeps_nothing_between_rows(component: Specimen) -> None:
    """What a row gives does not depend on the rows before it: with num_proc each process sees others."""
    needs_no_other_row(*_function_and_rows(component))


@check("preprocessor")
def works_in_another_process(component: Specimen) -> None:
    """A pickled copy, as num_proc sends it, gives the same results."""
    works_as_a_copy(component.build(), _row_function, component.example_of(RowExample).rows)


CHECKS = (
    gives_a_trajectory,
    gives_every_row_the_same_columns,
    rows_and_columns_agree,
    leaves_the_row,
    keeps_nothing_between_rows,
    works_in_another_process,
)
