"""The arguments that a file gives to a component, held against the component's signature: names and plain types, nothing is built."""

from __future__ import annotations

import difflib
import enum
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from twinkle.core.errors import InvalidArgument
from twinkle.core.signature import check_arguments, constructor_of, named_parameters
from twinkle.core.suggestion import did_you_mean

_PLAIN = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
_NEARLY = 0.9
"""Likeness (of difflib) above which a name that may be passed on is taken for a parameter's with a slip of the pen."""


def check_written_arguments(cls: type, given: Mapping[str, Any], what: str) -> None:
    """Looks for what cannot be right without building ``cls``; what it needs beside ``given`` is not asked for.

    Keywords that a class passes on (``**keywords``) are checked where it declares them by ``Unpack`` of a typed dict. Where it does not,
    only those are refused that are nearly the name of a parameter. Values are checked where the annotation names plain types.

    Raises:
        InvalidArgument: a name that the class does not take, or a value that its annotation excludes.
    """
    named = named_parameters(cls)
    check_arguments(cls, {**dict.fromkeys(named), **given}, what)
    constructor = constructor_of(cls)
    if constructor is None:
        return
    function = inspect.unwrap(constructor)
    if not isinstance(function, types.FunctionType):  # C code, whose names check_arguments knows and whose types nobody does
        return
    passed_on = _passed_on(function)
    hints = {name: _hint(function, parameter.annotation) for name, parameter in named.items()} | (passed_on or {})
    for name, value in given.items():
        if name in named and value is None and named[name].default is None:
            continue
        if name in hints:
            _check_value(hints[name], value, f"{what}: {name}")
        elif passed_on is not None:
            raise InvalidArgument(f"{what} does not take the argument {name!r}.{did_you_mean(name, hints)}")
        else:
            _refuse_near_miss(name, named, what)


def _passed_on(function: types.FunctionType) -> dict[str, Any] | None:
    """The types of the keywords that ``function`` takes beside its parameters; None where it does not say which."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            hint = _hint(function, parameter.annotation)
            if typing.get_origin(hint) is typing.Unpack:
                return typing.get_type_hints(typing.get_args(hint)[0])
    return None


def _refuse_near_miss(name: str, named: Iterable[str], what: str) -> None:
    near = difflib.get_close_matches(name, named, n=1, cutoff=_NEARLY)
    if near:
        raise InvalidArgument(f"{what} does not take the argument {name!r}. Did you mean {near[0]!r}?")


def _hint(function: types.FunctionType, annotation: Any) -> Any:
    """What ``annotation`` stands for; Any where there is none, or it names what only type checkers import."""
    if annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(annotation, str):
        return annotation
    one_alone = type("one_alone", (), {"__annotations__": {"it": annotation}})
    try:
        return inspect.get_annotations(one_alone, globals=function.__globals__, eval_str=True)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any


def _check_value(hint: Any, value: object, where: str) -> None:
    """Raises InvalidArgument where ``hint`` names plain types and ``value``, as a file can write it, is of none of them."""
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    says_plain = any(member in _PLAIN or typing.get_origin(member) is typing.Literal for member in members)
    if not says_plain or any(_may_take(member, value) for member in members):
        return
    expected = [name for member in members for name in _names(member)]
    raise InvalidArgument(f"{where}: expected {' or '.join(expected)}, got {value!r}")


def _may_take(member: Any, value: object) -> bool:
    if member is None or member is types.NoneType:
        return value is None
    if typing.get_origin(member) is typing.Literal:
        return value in typing.get_args(member)
    if member is float:
        return type(value) in (float, int)
    if member in _PLAIN:
        return type(value) is member
    if isinstance(member, type) and issubclass(member, PurePath):
        return isinstance(value, str)
    if isinstance(member, type) and not issubclass(member, enum.Enum):
        return not isinstance(value, (*_PLAIN, types.NoneType)) or isinstance(value, member)
    return True  # aliases, enumerations and generic types are for the component to say


def _names(member: Any) -> list[str]:
    if typing.get_origin(member) is typing.Literal:
        return [repr(value) for value in typing.get_args(member)]
    return [_PLAIN[member]] if member in _PLAIN else []
