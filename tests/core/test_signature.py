"""Arguments checked before a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pytest

from twinkle.core.errors import InvalidArgument
from twinkle.core.signature import check_arguments, named_parameters, takes_any_keyword


class Contract(Protocol):
    """A contract without a constructor."""

    def __call__(self) -> int: ...


class Plain(Contract):
    """Inherits the constructor that protocols bring along, which takes anything and means nothing."""

    def __call__(self) -> int:
        return 0


class Placing(type(Protocol)):  # type: ignore[misc]
    """A metaclass whose call hides the constructor."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class Placed(metaclass=Placing):
    def __init__(self, epsilon: float = 0.2) -> None: ...


class Inheriting(Plain, Placed):
    pass


@dataclass(kw_only=True)
class Config:
    epsilon: float
    beta: float = 0.0


class Row(NamedTuple):
    epsilon: float


def function(first: int, /, epsilon: float, *rest: int, beta: float = 0.0) -> None: ...


def open_function(epsilon: float, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (Plain, []),
        (Placed, ["epsilon"]),
        (Inheriting, ["epsilon"]),
        (Config, ["epsilon", "beta"]),
        (Row, ["epsilon"]),
        (function, ["epsilon", "beta"]),
        (open_function, ["epsilon"]),
        (object, []),
    ],
)
def test_the_parameters_are_those_of_the_constructor(target: Callable[..., Any], names: list[str]) -> None:
    assert list(named_parameters(target)) == names
    assert takes_any_keyword(target) is (target is open_function)


def test_a_typo_is_told_with_a_suggestion() -> None:
    with pytest.raises(InvalidArgument, match=r"the loss does not take the argument 'epsilom'\. Did you mean 'epsilon'\?"):
        check_arguments(Config, {"epsilom": 1.0}, "the loss")
    with pytest.raises(InvalidArgument, match=r"does not take the argument 'x'\. It takes no arguments"):
        check_arguments(Plain, {"x": 1.0}, "the loss")


def test_a_missing_argument_is_told() -> None:
    with pytest.raises(InvalidArgument, match="the loss needs the argument 'epsilon'"):
        check_arguments(Config, {}, "the loss")


def test_offered_arguments_fill_what_the_user_left_out_and_no_more() -> None:
    offered = {"epsilon": 1.0, "beta": 2.0, "unknown": 3.0}
    assert check_arguments(Config, {"beta": 5.0}, "the loss", offered) == {"epsilon": 1.0, "beta": 5.0}


def test_an_open_signature_is_not_checked() -> None:
    assert check_arguments(open_function, {"epsilon": 1, "anything": 2}, "it") == {"epsilon": 1, "anything": 2}


def test_c_code_that_does_not_tell_its_signature_is_not_checked() -> None:
    assert takes_any_keyword(dict)
    assert check_arguments(dict, {"anything": 2}, "it") == {"anything": 2}
