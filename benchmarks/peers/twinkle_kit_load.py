"""twinkle-kit's DataLoader over rows that are encoded already."""

from __future__ import annotations

from typing import Any

import datasets

from benchmarks.peers.loop import serve
from twinkle.dataloader import DataLoader
from twinkle.dataset import Dataset, DatasetMeta


class _Run:
    def __init__(self) -> None:
        self.loader: Any = None

    def setup(self, folder: str, batch_size: int) -> dict[str, Any]:
        """Rows of a saved data set; answers the last one that the loader gives."""
        self.loader = DataLoader(Dataset(DatasetMeta(data=datasets.load_from_disk(folder))), batch_size=batch_size)
        row: dict[str, Any] = list(self.loader)[-1][-1]
        return row

    def step(self) -> None:
        """An epoch."""
        list(self.loader)


run = _Run()
serve({"setup": run.setup, "step": run.step})
