"""Samples packed into sequences of full length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.runtime.remote import remote_class, remote_function
from twinkle.plugins_builtin.dataset._bin_packing import Packing, pack
from twinkle.plugins_builtin.dataset._dataset import Dataset
from twinkle.plugins_builtin.dataset._meta import DatasetMeta
from twinkle.plugins_builtin.dataset._template_limit import capacity_of


@remote_class(execute="first")
class PackingDataset(Dataset):
    """A data set whose rows are, after :meth:`encode` and :meth:`pack_dataset`, sequences of several samples each.

    A sequence has the columns of its samples one after the other; ``position_ids`` start at 0 in each sample, and columns that are no
    lists become lists (``length: [l1, l2]``). No sample is lost or cut.
    """

    _packing: Packing | None = None
    """None until :meth:`pack_dataset`."""

    def __init__(
        self,
        dataset_meta: DatasetMeta | str | Path | None = None,
        packing_num_proc: int = 1,
        *,
        num_proc: int | None = None,
        revision: str | None = None,
    ) -> None:
        """
        Args:
            packing_num_proc: processes that encode; packing itself takes a fraction of a second.
        """
        super().__init__(dataset_meta, num_proc=num_proc, revision=revision)
        self._num_proc = packing_num_proc

    @remote_function(dispatch="all")
    def encode(self, add_generation_prompt: bool = False, **options: Any) -> None:
        """See :meth:`Dataset.encode`."""
        processes = {"num_proc": self._num_proc} if self._num_proc > 1 else {}
        super().encode(add_generation_prompt, **{**processes, **options})

    @remote_function(dispatch="all")
    def pack_dataset(self) -> None:
        """Packs all samples into as few sequences of the template's ``max_length`` (2,048 without) as :func:`pack` finds.

        Raises:
            InvalidArgument: there is no template, or the rows are not encoded.
            InvalidData: a sample is longer than a sequence.
        """
        capacity = capacity_of(self._require_template("pack_dataset"))
        rows = self.dataset
        if "input_ids" not in rows.column_names:
            raise InvalidArgument("pack_dataset() packs encoded rows: call encode() first")
        lengths = _lengths(rows)
        longest = int(lengths.argmax())
        if lengths[longest] > capacity:
            raise InvalidData(
                f"row {longest} of {self.title} has {lengths[longest]} tokens, more than the {capacity} of a packed sequence: "
                "set truncation_strategy ('left', 'right', 'split', 'delete') or a larger max_length in set_template"
            )
        self._packing = pack(lengths, capacity)

    @remote_function(collect="first")
    def __len__(self) -> int:
        """Packed sequences; rows before :meth:`pack_dataset`."""
        return super().__len__() if self._packing is None else len(self._packing)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The sequences at ``indices``; rows before :meth:`pack_dataset`."""
        return super().__getitems__(indices) if self._packing is None else self._sequences(self._packing, indices)

    def fetch(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The sequences at ``indices``; rows before :meth:`pack_dataset`."""
        return super().fetch(indices) if self._packing is None else self._sequences(self._packing, indices)

    def _sequences(self, packing: Packing, indices: Sequence[int]) -> list[dict[str, Any]]:
        return self._row_view().sequences([packing[index].tolist() for index in indices])

    @remote_function()
    def __iter__(self) -> Iterator[dict[str, Any]]:
        return super().__iter__() if self._packing is None else (self[index] for index in range(len(self)))

    def _before_change(self, method: str) -> None:
        if self._packing is not None:
            raise InvalidArgument(f"the rows are packed already: call {method} before pack_dataset()")


def _lengths(rows: Any) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = pc.list_value_length(rows.data.column("input_ids")).to_numpy().astype(np.int64)
    return lengths if rows._indices is None else lengths[rows._indices.column(0).to_numpy()]
