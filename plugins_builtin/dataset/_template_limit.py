"""What a data set asks of a template beyond the contract, where the template has it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from twinkle.core.errors import InvalidArgument

DEFAULT_CAPACITY = 2048
"""Tokens of a packed sequence where the template has no ``max_length``."""


@runtime_checkable
class _Limited(Protocol):
    max_length: int | None


@runtime_checkable
class _Truncating(Protocol):
    truncation_strategy: str


def capacity_of(template: object) -> int:
    """Tokens of a packed sequence: ``template.max_length``."""
    limit = template.max_length if isinstance(template, _Limited) else None
    return DEFAULT_CAPACITY if limit is None else limit


def refuse_split(template: object, owner: object, instead: str) -> None:
    """Raises InvalidArgument where ``template`` would make several samples of one row; ``instead`` are the strategies to propose."""
    if isinstance(template, _Truncating) and template.truncation_strategy == "split":
        raise InvalidArgument(
            f"{type(owner).__name__} cannot use truncation_strategy='split': a row is encoded when it is asked for, and must stay one row; "
            f"choose {instead}, or encode a Dataset"
        )
