"""Arguments checked against a signature before a call, so that a typo is told by name and with a suggestion."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from twinkle.core.errors import InvalidArgument
from twinkle.core.suggestion import did_you_mean

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def takes_any_keyword(function: Callable[..., Any]) -> bool:
    """True where ``**kwargs`` in the signature makes a check of argument names impossible."""
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def named_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by name."""
    return {name: p for name, p in inspect.signature(function).parameters.items() if p.kind in _NAMED}


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
