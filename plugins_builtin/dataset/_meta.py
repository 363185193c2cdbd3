"""What a data set is made from."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinkle.core.errors import InvalidArgument
from twinkle.core.signature import check_arguments


@dataclass(frozen=True)
class DatasetMeta:
    """Where rows come from: an id or a path, or ``data`` in memory.

    >>> DatasetMeta("ms://modelscope/gsm8k", subset_name="main", split="test", data_slice=range(100))
    """

    dataset_id: str | Path = ""
    """A local file or folder, ``ms://owner/name``, ``hf://owner/name``, or ``owner/name``, which means ModelScope."""
    subset_name: str = "default"
    """The folder of a subset; "default" is no folder."""
    split: str = "train"
    data_slice: Iterable[int] | None = None
    """Indices of the rows to take, in this order, modulo the number of rows; None takes all."""
    data: Any = None
    """Rows in memory: a list of rows, a mapping of columns, a Hugging Face data set, or a function that returns one of these."""

    def __post_init__(self) -> None:
        if (self.dataset_id == "") == (self.data is None):
            raise InvalidArgument("DatasetMeta needs one of dataset_id='path, ms://owner/name or hf://owner/name' and data=rows in memory")
        given: object = self.dataset_id
        if not isinstance(given, str | Path):
            got = type(given).__name__
            raise InvalidArgument(f"DatasetMeta: dataset_id is a path or an id, got {got}; rows in memory go into data=")
        if self.data_slice is not None:
            object.__setattr__(self, "data_slice", _row_indices(self.data_slice))

    @classmethod
    def of(cls, given: DatasetMeta | Mapping[str, Any] | str | Path) -> DatasetMeta:
        """``given`` itself, or what a path, an id, or the fields as a mapping (from a configuration file) stand for."""
        if isinstance(given, Mapping):
            return cls(**check_arguments(cls, given, "DatasetMeta"))
        return given if isinstance(given, DatasetMeta) else cls(given)

    def get_id(self) -> str:
        """``id:subset:split``, with ``/`` and ``.`` of the id replaced by ``_``; rows in memory have the id "memory"."""
        name = re.sub(r"[/.]", "_", str(self.dataset_id)) or "memory"
        return f"{name}:{self.subset_name}:{self.split}"

    @property
    def title(self) -> str:
        """How messages name it."""
        subset = "" if self.subset_name == "default" else f"/{self.subset_name}"
        return f"{self.dataset_id or 'rows in memory'}{subset} ({self.split})"


def _row_indices(wanted: object) -> range | tuple[int, ...]:
    if not isinstance(wanted, Iterable) or isinstance(wanted, str | Mapping):
        raise InvalidArgument(f"DatasetMeta: data_slice holds row indices, such as range(100) or [0, 5, 7]; got {wanted!r}")
    indices = wanted if isinstance(wanted, range) else tuple(map(_row_index, wanted))
    if not indices:
        raise InvalidArgument(f"DatasetMeta: data_slice={wanted!r} takes no row; leave it out to take all")
    return indices


def _row_index(index: Any) -> int:
    try:
        return operator.index(index)
    except TypeError:
        raise InvalidArgument(f"DatasetMeta: data_slice holds row indices (whole numbers), got {index!r}") from None
