"""The error tree: one root, stdlib parents, and every leaf crosses a process boundary."""

from __future__ import annotations

import builtins
import inspect
import pickle

import pytest

from twinkle.core import errors
from twinkle.core.errors import TwinkleError

LEAVES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, TwinkleError) and cls is not TwinkleError]


@pytest.mark.parametrize("cls", LEAVES)
def test_an_error_is_a_standard_one_too(cls: type[TwinkleError]) -> None:
    standard = {value for value in vars(builtins).values() if isinstance(value, type)} - {Exception, BaseException, object}
    assert standard & set(cls.__mro__), f"{cls.__name__} needs a standard-library parent: people catch those"


@pytest.mark.parametrize("cls", LEAVES)
def test_an_error_pickles_with_its_message(cls: type[TwinkleError]) -> None:
    arrived = pickle.loads(pickle.dumps(cls("expected this, got that")))
    assert type(arrived) is cls and str(arrived) == "expected this, got that"
