"""Arguments checked against a signature before a call, so that a typo is told by name and with a suggestion."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from twinkle.core.errors import InvalidArgument
from twinkle.core.suggestion import did_you_mean

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def takes_any_keyword(function: Callable[..., Any]) -> bool:
    """True where argument names cannot be checked: ``**kwargs``, or C code that does not tell its signature."""
    parameters = _parameters(function)
    return parameters is None or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def named_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by name; of a class, those of its constructor."""
    return {p.name: p for p in _parameters(function) or () if p.kind in _NAMED}


def check_arguments(
    function: Callable[..., Any] | None, given: Mapping[str, Any], what: str, offered: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """``given`` and those of ``offered`` that ``function`` names; None is a function that takes nothing.

    Raises:
        InvalidArgument: ``given`` has a name that ``function`` does not take, or lacks one that it needs.
    """
    parameters = {} if function is None else named_parameters(function)
    if function is None or not takes_any_keyword(function):
        for name in given:
            if name not in parameters:
                takes = did_you_mean(name, parameters) if parameters else " It takes no arguments."
                raise InvalidArgument(f"{what} does not take the argument {name!r}.{takes}")
    arguments = {name: value for name, value in (offered or {}).items() if name in parameters} | dict(given)
    missing = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty and name not in arguments]
    if missing:
        raise InvalidArgument(f"{what} needs the argument{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}")
    return arguments


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """None where C code does not tell."""
    if isinstance(function, type) and any("__signature__" in vars(base) for base in inspect.getmro(type(function))):
        return list(inspect.signature(function).parameters.values())  # a metaclass that says itself what a call takes
    target = constructor_of(function) if isinstance(function, type) else function
    if target is None:
        return []
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except ValueError:
        return None
    return parameters[1:] if isinstance(function, type) else parameters


def constructor_of(cls: type) -> Callable[..., Any] | None:
    """The ``__init__`` or ``__new__`` that a call of ``cls`` ends in; None where it takes nothing.

    Looked up by hand, because ``inspect.signature(cls)`` answers ``(*args, **kwargs)`` for a class that inherits from a protocol, and
    for one whose metaclass has a ``__call__``.
    """
    for base in cls.__mro__[:-1]:
        if vars(base).get("_is_protocol"):
            continue
        for name in ("__init__", "__new__"):
            if name in vars(base):
                found: Callable[..., Any] = getattr(base, name)
                return found
    return None
