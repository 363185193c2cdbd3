"""Rows that are read, mapped and encoded while they are used."""

from __future__ import annotations

from pathlib import Path

from twinkle.core.runtime.remote import remote_class
from twinkle.plugins_builtin.dataset._dataset import Dataset
from twinkle.plugins_builtin.dataset._meta import DatasetMeta


@remote_class(execute="first")
class IterableDataset(Dataset):
    """A data set that streams: nothing is read before it is iterated, nothing is kept, and it has no length and no index."""

    def __init__(
        self, dataset_meta: DatasetMeta | str | Path | None = None, *, num_proc: int | None = None, revision: str | None = None
    ) -> None:
        super().__init__(dataset_meta, streaming=True, num_proc=num_proc, revision=revision)
