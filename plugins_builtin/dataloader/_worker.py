"""Reading ahead in worker processes, through torch's data loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import data


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """Worker processes of a loader."""

    num_workers: int = 0
    """0: the rows are read in the process that uses them."""
    prefetch_factor: int | None = None
    """Batches that each worker reads ahead; None leaves it to torch."""
    timeout_s: float = 0
    """Seconds to wait for a batch; 0 waits for ever."""
    context: str | None = None
    """How processes are started: "fork", "spawn" or "forkserver"; None is the system's way."""

    def read(self, fetcher: Any, keys: Sequence[Any]) -> Iterator[Any]:
        """``fetcher[key]`` for each key, in order."""
        if self.num_workers == 0:
            return (fetcher[key] for key in keys)
        return iter(self._loader(fetcher, num_workers=self.num_workers, sampler=keys))

    def read_stream(self, make_items: Callable[[], Iterable[Any]]) -> Iterator[Any]:
        """What ``make_items()`` yields; with workers, one of them reads it ahead. (More would each read the whole stream.)"""
        if self.num_workers == 0:
            return iter(make_items())
        return iter(self._loader(_Stream(make_items), num_workers=1, sampler=None))

    def _loader(self, rows: Any, num_workers: int, sampler: Any) -> data.DataLoader[Any]:
        return data.DataLoader(
            rows,
            batch_size=None,  # one key is one batch already
            sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            prefetch_factor=self.prefetch_factor,
            timeout=self.timeout_s,
            multiprocessing_context=self.context,
            generator=torch.Generator(),  # or it would draw from the generator that training depends on
        )


class _Stream(data.IterableDataset[Any]):
    def __init__(self, make_items: Callable[[], Iterable[Any]]) -> None:
        self._make_items = make_items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make_items())


def _as_it_is(item: Any) -> Any:
    return item
