"""What a filter keeps: a pure verdict on one row."""

from __future__ import annotations

from twinkle.testing.check import check, expect
from twinkle.testing.example import RowExample
from twinkle.testing.row_result import leaves_rows, needs_no_other_row, works_as_a_copy
from twinkle.testing.specimen import Specimen


@check("filter")
def says_yes_or_no(component: Specimen) -> None:
    """Every row gets True or False, not something that merely counts as one: None is what a forgotten return gives."""
    keep = component.build()
    for index, row in enumerate(component.example_of(RowExample).rows):
        verdict = keep(dict(row))
        expect(isinstance(verdict, bool), f"row {index} gets {verdict!r}")


@check("filter")
def keeps_some_and_drops_some(component: Specimen) -> None:
    """Of the example's rows some stay and some go: else nothing shows that the filter looks at them."""
    verdicts = {bool(component.build()(dict(row))) for row in component.example_of(RowExample).rows}
    expect(verdicts == {True, False}, f"every row of the example is {'kept' if True in verdicts else 'dropped'}")


@check("filter")
def leaves_the_row(component: Specimen) -> None:
    """The row that comes in stays as it is."""
    leaves_rows(component.build(), component.example_of(RowExample).rows)


@check("filter")
def keeps_nothing_between_rows(component: Specimen) -> None:
    """The verdict does not depend on the rows before: with num_proc each process sees others. (Removing duplicates is no filter.)"""
    needs_no_other_row(component.build(), component.example_of(RowExample).rows)


@check("filter")
def works_in_another_process(component: Specimen) -> None:
    """A pickled copy, as num_proc sends it, gives the same verdicts."""
    works_as_a_copy(component.build(), lambda keep: keep, component.example_of(RowExample).rows)


CHECKS = (says_yes_or_no, keeps_some_and_drops_some, leaves_the_row, keeps_nothing_between_rows, works_in_another_process)
