"""What ``map`` and ``filter`` were given, as functions of rows, and their application to a batch of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

from twinkle.core.components import build
from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.resolved import Resolved
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor, columns_of, rows_of

RowFunction = Callable[[dict[str, Any]], Any]


@runtime_checkable
class _Preprocesses(Protocol):
    def preprocess(self, row: Mapping[str, Any]) -> Mapping[str, Any]: ...


def component_of(kind: str, given: Any, init_args: Mapping[str, Any] | None) -> Any:
    """The instance or function that ``given`` (class, instance, name, hub id, function) stands for.

    Raises:
        LookupError, ValueError: unknown name or id.
        InvalidArgument: ``init_args`` that it does not take.
    """
    is_plain_callable = not isinstance(given, str | type | Resolved | _Preprocesses) and callable(given)
    if is_plain_callable and not init_args:
        return given
    return build(kind, given, **(init_args or {}))


def row_function(preprocessor: Any) -> RowFunction:
    """The function of one row. A subclass that wrote ``__call__`` and no ``preprocess`` is called itself."""
    if isinstance(preprocessor, Preprocessor) and type(preprocessor).preprocess is Preprocessor.preprocess:
        return preprocessor
    if isinstance(preprocessor, _Preprocesses):
        return preprocessor.preprocess
    if not callable(preprocessor):
        raise InvalidArgument(f"map expects a preprocessor or a function of one row, got {type(preprocessor).__name__}")
    function: RowFunction = preprocessor
    return function


def name_of(function: Any) -> str:
    """What messages and progress bars call it."""
    return str(function.__name__) if isinstance(function, type | FunctionType) else type(function).__name__


@dataclass(frozen=True, slots=True)
class MapRows:
    """Applies a function of one row to a batch of columns."""

    function: RowFunction
    name: str
    title: str

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        rows = rows_of(batch)
        results = []
        for index, row in zip(indices, rows, strict=True):
            result = call_with_row(self.function, row, index, self.name, self.title)
            if not isinstance(result, Mapping):
                raise InvalidData(
                    f"{self.name} returned {type(result).__name__} for row {index} of {self.title}: expected a mapping of column to value; "
                    "rows are dropped with filter"
                )
            results.append(result)
        return columns_of(results)


@dataclass(frozen=True, slots=True)
class KeepRows:
    """Applies a function ``row -> bool`` to a batch of columns."""

    function: RowFunction
    name: str
    title: str

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> list[bool]:
        return [
            bool(call_with_row(self.function, row, index, self.name, self.title))
            for index, row in zip(indices, rows_of(batch), strict=True)
        ]


def call_with_row(function: RowFunction, row: dict[str, Any], index: int, name: str, title: str) -> Any:
    """``function(row)``; an error says which row of which data set it was.

    Raises:
        InvalidData: the function refused the row, or asked for a column that the row does not have.
    """
    columns = list(row)
    where = f"row {index} of {title}"
    try:
        return function(row)
    except InvalidData as error:
        raise InvalidData(f"{where}: {error}") from error
    except KeyError as error:
        if error.args and error.args[0] not in columns:
            has = ", ".join(map(repr, columns))
            raise InvalidData(f"{name} asks for {error.args[0]!r}, which {where} does not have; its columns: {has}") from error
        error.add_note(f"in {name}, {where}")
        raise
    except Exception as error:
        error.add_note(f"in {name}, {where}")
        raise
