"""Built-in data sets."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

_ROOM = "twinkle.plugins_builtin.dataset"

COMPONENTS: dict[str, str] = {
    "dataset": f"{_ROOM}._dataset:Dataset",
    "iterable": f"{_ROOM}._iterable:IterableDataset",
    "iterable_packing": f"{_ROOM}._iterable_packing:IterablePackingDataset",
    "lazy": f"{_ROOM}._lazy:LazyDataset",
    "packing": f"{_ROOM}._packing:PackingDataset",
}


@hookimpl
def twinkle_datasets() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
