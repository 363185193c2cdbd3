"""Arguments from a file against a signature, before anything is built."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import pytest

from twinkle.cli.argument_check import check_written_arguments
from twinkle.core.errors import InvalidArgument
from twinkle.core.runtime.context import ProcessContext
from twinkle.core.signature import named_parameters

if TYPE_CHECKING:
    from decimal import Decimal


class Mode(enum.Enum):
    FAST = "fast"


class Keywords(TypedDict, total=False):
    depth: int
    title: str | None


class Part:
    def __init__(
        self,
        needed: object,
        rate: float | Fraction = 0.1,
        folder: bool | Path = False,
        count: int = None,  # type: ignore[assignment]  # noqa: RUF013  # as older code writes it
        kind: int | Literal["auto"] = "auto",
        mode: Mode | bool = True,
        items: int | Sequence[int] = 0,
        exact: int | Decimal = 0,
        table: Mapping[str, Any] | None = None,
        function: Callable[[], int] | None = None,
        **more: Unpack[Keywords],
    ) -> None:
        raise AssertionError("nothing is built")


class Open:
    def __init__(self, learning_rate: float = 0.1, **more: Any) -> None: ...


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"rate": 1, "count": None, "kind": "auto", "mode": "fast", "items": [1, 2], "folder": "f"},
        {"exact": "1.5", "table": {"a": 1}, "function": "f", "kind": 3, "depth": 4, "title": None},
    ],
)
def test_what_may_be_right_passes(given: dict[str, Any]) -> None:
    check_written_arguments(Part, given, "part 'p'")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": "0.1"}, "part 'p': rate: expected a number, got '0.1'"),
        ({"rate": True}, "rate: expected a number, got True"),
        ({"count": 1.5}, "count: expected a whole number, got 1.5"),
        ({"count": [1]}, "count: expected a whole number, got [1]"),
        ({"kind": "auot"}, "kind: expected a whole number or 'auto', got 'auot'"),
        ({"depth": "4"}, "depth: expected a whole number, got '4'"),
        ({"title": 4}, "title: expected a string, got 4"),
        ({"dept": 4}, "part 'p' does not take the argument 'dept'. Did you mean 'depth'?"),
        ({"cuont": 4}, "Did you mean 'count'?"),
    ],
)
def test_what_cannot_be_right_is_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as told:
        check_written_arguments(Part, given, "part 'p'")
    assert message in str(told.value)


def test_of_keywords_that_are_passed_on_undeclared_only_a_near_miss_is_told() -> None:
    check_written_arguments(Open, {"warmup": 3, "rate": "x"}, "part 'p'")
    with pytest.raises(InvalidArgument, match="Did you mean 'learning_rate'"):
        check_written_arguments(Open, {"learnin_rate": 3}, "part 'p'")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "template", "preprocessor", "patch", "loss", "metric", "optimizer", "lr_scheduler", "tracker"])
def test_the_defaults_of_every_built_in_part_pass(kind: str, context: ProcessContext) -> None:
    registry = context.registry
    classes = [found for name in {c.name for c in registry.components(kind)} if isinstance(found := registry.resolve(kind, name).cls, type)]
    assert classes
    for cls in classes:
        defaults = {name: p.default for name, p in named_parameters(cls).items() if p.default is not p.empty}
        check_written_arguments(cls, defaults, f"{kind} {cls.__name__!r}")
