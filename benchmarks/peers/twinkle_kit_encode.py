"""twinkle-kit's Dataset, which encodes rows with its Template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets

from benchmarks.peers.loop import serve
from twinkle.dataset import Dataset, DatasetMeta
from twinkle.template import Template


class _Run:
    def __init__(self) -> None:
        self.template: Any = None
        self.source: Any = None
        self.options: dict[str, Any] = {}

    def load(self, folder: str) -> None:
        """The tokenizer in ``folder``."""
        self.template = Template(folder, max_length=None)

    def read(self, path: str, new_fingerprint: str | None) -> None:
        """Rows of a JSON list, and the fingerprint of their features; None: it is found out by hashing the template."""
        self.options = {} if new_fingerprint is None else {"new_fingerprint": new_fingerprint}
        self.source = datasets.Dataset.from_list(json.loads(Path(path).read_text(encoding="utf-8")))

    def encode(self) -> Any:
        """The rows with features."""
        encoded = Dataset(DatasetMeta(data=self.source))
        encoded.set_template(self.template)
        encoded.encode(**self.options)
        return encoded.dataset

    def first(self, num_rows: int) -> dict[str, Any]:
        """Ids and labels of the first rows."""
        rows = self.encode()[:num_rows]
        return {"input_ids": rows["input_ids"], "labels": rows["labels"]}


datasets.disable_progress_bars()
run = _Run()
serve({"load": run.load, "read": run.read, "first": run.first, "step": run.encode})
