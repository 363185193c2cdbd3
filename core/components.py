"""``twinkle.resolve`` and ``twinkle.build``: names to classes to objects, through the registry of this process."""

from __future__ import annotations

from typing import Any

from twinkle.core.resolved import Resolved
from twinkle.core.runtime.context import current
from twinkle.core.signature import check_arguments


def resolve(kind: str, ref: object) -> Resolved:
    """What ``ref`` names among the components of ``kind``; nothing is imported until ``.cls`` is read.

    Raises:
        LookupError: unknown or ambiguous name, with suggestions.
        ValueError: ``ref`` is outside the grammar.
    """
    return current().registry.resolve(kind, ref)


def build(kind: str, ref: object, /, **init: Any) -> Any:
    """An instance of what ``ref`` names. Functions and instances are returned as they are, and take no ``init``.

    Raises:
        LookupError: unknown or ambiguous name.
        TypeError: an argument that the class does not take (with a suggestion), or one that it needs and did not get.
    """
    return build_resolved(resolve(kind, ref), init)


def build_resolved(resolved: Resolved, init: dict[str, Any], offered: dict[str, Any] | None = None) -> Any:
    """An instance of ``resolved`` from the user's ``init`` and from those of ``offered`` that its signature takes and the user left out."""
    component = resolved.cls
    what = f"{resolved.kind} {resolved.ref!r}"
    if not isinstance(component, type):
        check_arguments(None, init, what)
        return component
    arguments = check_arguments(component, init, what, offered)
    return component(**arguments)
