"""A stream of samples packed into sequences of full length."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.runtime.remote import remote_class, remote_function
from twinkle.plugins_builtin.dataset._iterable import IterableDataset
from twinkle.plugins_builtin.dataset._meta import DatasetMeta
from twinkle.plugins_builtin.dataset._packed_window import PackedWindow
from twinkle.plugins_builtin.dataset._row_view import join_rows
from twinkle.plugins_builtin.dataset._template_limit import capacity_of, refuse_split


@remote_class(execute="first")
class IterablePackingDataset(IterableDataset):
    """A stream whose rows are, after :meth:`encode` and :meth:`pack_dataset`, sequences of several samples each.

    Samples are packed ``packing_interval`` at a time; what does not fill a sequence waits for the next ones, so that none is lost.
    """

    def __init__(
        self,
        dataset_meta: DatasetMeta | str | Path | None = None,
        packing_interval: int = 128,
        packing_num_proc: int = 1,
        cyclic: bool = False,
        *,
        num_proc: int | None = None,
        revision: str | None = None,
    ) -> None:
        """
        Args:
            packing_interval: samples that are packed together: more fill better and wait longer.
            packing_num_proc: accepted as published; reading ahead in a process is ``DataLoader(num_workers=1)``.
            cyclic: begins again at the end of the stream, for ever.
        """
        super().__init__(dataset_meta, num_proc=num_proc, revision=revision)
        if packing_interval < 1 or packing_num_proc < 1:
            raise InvalidArgument(f"packing_interval and packing_num_proc are at least 1, got {packing_interval} and {packing_num_proc}")
        self._interval = packing_interval
        self._cyclic = cyclic
        self._capacity: int | None = None

    @remote_function(dispatch="all")
    def encode(self, add_generation_prompt: bool = False, **options: Any) -> None:
        """See :meth:`Dataset.encode`."""
        refuse_split(self._require_template("encode"), self, "'left', 'right', 'delete' or 'raise'")
        super().encode(add_generation_prompt, **options)

    @remote_function(dispatch="all")
    def pack_dataset(self) -> None:
        """From now on rows come packed, up to the template's ``max_length`` (2,048 without)."""
        self._capacity = capacity_of(self._require_template("pack_dataset"))

    def stream(self, seed: int | None, epoch: int) -> Iterator[dict[str, Any]]:
        """The rows, packed after :meth:`pack_dataset`; samples are shuffled before they are packed."""
        if self._capacity is None:
            return super().stream(seed, epoch)
        return self._sequences(self._capacity, seed, epoch)

    def _sequences(self, capacity: int, seed: int | None, epoch: int) -> Iterator[dict[str, Any]]:
        window: PackedWindow[dict[str, Any]] = PackedWindow(capacity=capacity, window=self._interval)
        for turn in count() if self._cyclic else range(1):
            for number, row in enumerate(super().stream(seed, epoch + turn)):
                if "input_ids" not in row:
                    raise InvalidArgument("pack_dataset() packs encoded rows: call encode() too")
                length = len(row["input_ids"])
                if length > capacity:
                    raise InvalidData(
                        f"row {number} of {self.title} has {length} tokens, more than the {capacity} of a packed sequence: "
                        "set truncation_strategy ('left', 'right', 'delete') or a larger max_length in set_template"
                    )
                for samples in window.add(row, length):
                    yield join_rows(samples)
        for samples in window.flush():
            yield join_rows(samples)
