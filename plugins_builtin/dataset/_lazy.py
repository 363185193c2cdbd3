"""Rows that are encoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.runtime.remote import remote_class, remote_function
from twinkle.plugins_builtin.dataset._dataset import Dataset
from twinkle.plugins_builtin.dataset._encode import encode_batch
from twinkle.plugins_builtin.dataset._meta import DatasetMeta
from twinkle.plugins_builtin.dataset._step import check_options
from twinkle.plugins_builtin.dataset._template_limit import refuse_split


@remote_class(execute="first")
class LazyDataset(Dataset):
    """A data set whose :meth:`encode` only says how: each row is encoded on access, every time.

    A row that cannot be encoded raises on access; a data loader takes another one in its place. So :meth:`check` has nothing to do.
    """

    _add_generation_prompt: bool | None = None
    """None until :meth:`encode`."""

    @property
    def encodes_on_access(self) -> bool:
        """Whether a row may still turn out to be one that cannot be encoded."""
        return self._add_generation_prompt is not None

    @remote_function(dispatch="all")
    def encode(self, add_generation_prompt: bool = False, **options: Any) -> None:
        """From now on rows come encoded. ``options`` (of ``datasets.Dataset.map``) have nothing to do here."""
        check_options("map", options)
        refuse_split(self._require_template("encode"), self, "'left', 'right' or 'raise'")
        self._add_generation_prompt = add_generation_prompt

    @remote_function(dispatch="all")
    def check(self, dataset_meta: DatasetMeta | Mapping[str, Any] | str | Path | None = None, **options: Any) -> None:
        """Rows are checked when they are asked for."""
        check_options("filter", options)
        self._require_template("check")

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at ``indices``.

        Raises:
            InvalidData: one of them cannot be encoded, or encodes to nothing.
        """
        rows = super().__getitems__(indices)
        if self._add_generation_prompt is None:
            return rows
        template = self._require_template("encode")
        encoded = encode_batch(template, rows, indices, self._add_generation_prompt, self.title)
        if [number for number, _ in encoded] != list(range(len(rows))):
            missing = sorted(set(range(len(rows))) - {number for number, _ in encoded})
            if not missing:
                raise InvalidArgument(f"{type(template).__name__} made several samples of one row, which a LazyDataset cannot hold")
            raise InvalidData(
                f"row {indices[missing[0]]} of {self.title} encodes to nothing, as truncation_strategy='delete' makes of a row that is too "
                "long: a DataLoader takes another in its place, and a Dataset drops it when it encodes"
            )
        return [{**row, **columns} for row, (_, columns) in zip(rows, encoded, strict=True)]

    @remote_function()
    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))
