"""Rows to features: one ``template.batch_encode`` call per batch, every row once, and which feature came from which row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from twinkle.core.errors import InvalidData
from twinkle.core.types import InputFeature
from twinkle.plugins_builtin.dataset._integer_table import integer_table
from twinkle.plugins_builtin.preprocessor._preprocessor import columns_of, rows_of

if TYPE_CHECKING:
    from twinkle.core.contracts.template import Template

ROW_COLUMN = "__row__"
"""Travels through the template with each trajectory of a batch, so that a feature says which row it is of."""
_FEATURE_KEYS = frozenset(InputFeature.__annotations__)
_INTEGERS = frozenset({"length", ROW_COLUMN})


def encode_rows(template: Template, rows: Sequence[Mapping[str, Any]], add_generation_prompt: bool) -> list[tuple[int, dict[str, Any]]]:
    """``(row number, columns that the row gets)`` of each feature; rows that encode to nothing are missing, split ones come several times.

    Raises:
        InvalidData: a row cannot be encoded. (Which one is for :func:`encode_batch` to say.)
    """
    if not rows:
        return []
    trajectories = [{**row, ROW_COLUMN: number} for number, row in enumerate(rows)]
    features = template.batch_encode(trajectories, add_generation_prompt=add_generation_prompt)  # type: ignore[arg-type]
    numbered = _numbered(features, len(rows), type(template).__name__)
    return [(number, _new_columns(feature, rows[number])) for number, feature in numbered if not _is_empty(feature)]


def _new_columns(feature: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What encoding added to ``row``: the columns of a feature, and columns that hold trajectories of their own (preference pairs)."""
    return {key: value for key, value in feature.items() if key in _FEATURE_KEYS or key not in row or _has_ids(value)}


def _is_empty(feature: Mapping[str, Any]) -> bool:
    """Whether ``feature`` holds no token, or is a pair of which one side holds none and which so compares nothing."""
    encoded = [part for part in (feature, *feature.values()) if _has_ids(part)]
    return not encoded or any(len(part["input_ids"]) == 0 for part in encoded)


def _has_ids(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and "input_ids" in value


def _numbered(features: Sequence[Mapping[str, Any]], num_rows: int, template: str) -> list[tuple[int, dict[str, Any]]]:
    if all(ROW_COLUMN in feature for feature in features):
        return [(feature[ROW_COLUMN], {key: value for key, value in feature.items() if key != ROW_COLUMN}) for feature in features]
    if len(features) != num_rows:
        raise InvalidData(
            f"{template}.batch_encode made {len(features)} features of {num_rows} rows and dropped their columns, so that nobody can "
            "tell which is which: a template that splits or deletes rows must keep the columns that it does not know"
        )
    return [(number, dict(feature)) for number, feature in enumerate(features)]


def encode_batch(
    template: Template, rows: Sequence[Mapping[str, Any]], indices: Sequence[int], add_generation_prompt: bool, title: str
) -> list[tuple[int, dict[str, Any]]]:
    """:func:`encode_rows`; where that fails, the rows are tried one by one so that the error names the one at fault."""
    try:
        return encode_rows(template, rows, add_generation_prompt)
    except Exception as error:
        for index, row in zip(indices, rows, strict=True):
            try:
                template.batch_encode([{**row}], add_generation_prompt=add_generation_prompt)  # type: ignore[typeddict-item]
            except Exception as culprit:  # noqa: BLE001  # raised again, with the row that it belongs to
                message = f"row {index} of {title} cannot be encoded: {type(culprit).__name__}: {culprit}"
                raise InvalidData(f"{message}. check() drops such rows (twinkle train: check = true in the data set's table)") from error
        raise


@dataclass(frozen=True, slots=True)
class EncodedColumns:
    """A batch of columns to the columns that encoding adds, and :data:`ROW_COLUMN`: the rows that they belong to."""

    template: Template
    add_generation_prompt: bool
    title: str

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> Any:
        encoded = encode_batch(self.template, rows_of(batch), indices, self.add_generation_prompt, self.title)
        if not encoded:
            return {ROW_COLUMN: []}
        columns = {ROW_COLUMN: [indices[number] for number, _ in encoded], **columns_of([feature for _, feature in encoded])}
        table = integer_table(columns, integers=_INTEGERS)
        return columns if table is None else table


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """A batch of columns to whole rows, original columns and encoded ones, for streams."""

    template: Template
    add_generation_prompt: bool
    title: str

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        rows = rows_of(batch)
        encoded = encode_batch(self.template, rows, indices, self.add_generation_prompt, self.title)
        if not encoded:
            return {column: [] for column in batch}
        return columns_of([{**rows[number], **feature} for number, feature in encoded])


@dataclass(frozen=True, slots=True)
class CanEncode:
    """Whether each row of a batch of columns can be encoded."""

    template: Template
    refused: list[str]
    """Filled with the reason of each refusal."""

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> list[bool]:
        rows = rows_of(batch)
        try:
            encoded = {number for number, _ in encode_rows(self.template, rows, add_generation_prompt=False)}
        except Exception:  # noqa: BLE001  # which row it was is found out one by one
            return [self._can_encode(row) for row in rows]
        return [number in encoded for number in range(len(rows))]

    def _can_encode(self, row: Mapping[str, Any]) -> bool:
        try:
            features = self.template.batch_encode([{**row}], add_generation_prompt=False)  # type: ignore[typeddict-item]
            return not all(map(_is_empty, features))
        except Exception as error:  # noqa: BLE001  # "cannot be encoded" is the question; the reason is logged by check()
            self.refused.append(f"{type(error).__name__}: {error}")
            return False
