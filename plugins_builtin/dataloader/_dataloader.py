"""Batches of rows, in an order that a seed, an epoch and a position decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import datasets

from twinkle.core.balanced_slice import balanced_slice
from twinkle.core.components import build_resolved, resolve
from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.runtime.context import current
from twinkle.core.runtime.remote import remote_class, remote_function
from twinkle.plugins_builtin.dataloader._epoch import EpochPlan
from twinkle.plugins_builtin.dataloader._fetch import RowFetcher, Rows
from twinkle.plugins_builtin.dataloader._stream import Position, StreamBatches
from twinkle.plugins_builtin.dataloader._worker import Workers
from twinkle.plugins_builtin.dataset._dataset import Dataset
from twinkle.plugins_builtin.dataset._meta import DatasetMeta

if TYPE_CHECKING:
    from twinkle.core.mesh import DeviceMesh


@remote_class(execute="first")
class DataLoader:
    """Lists of rows, or collated batches after :meth:`set_processor`.

    Each ``iter()`` is an epoch; one that was broken off is not taken up again, except by :meth:`resume_from_checkpoint`. The epochs of a
    stream have no known length: there, ``iter()`` after a break begins the same epoch again.

    >>> loader = DataLoader(dataset=dataset, batch_size=8, shuffle=True)
    >>> for batch in loader:
    ...     model.forward_backward(inputs=batch)
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        min_batch_size: int | None = None,
        device_mesh: DeviceMesh | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        max_retries: int = 20,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        timeout: float = 0,
        multiprocessing_context: str | None = None,
    ) -> None:
        """
        Args:
            dataset: a data set, rows with ``len`` and ``[index]``, an iterable, or a function that makes one of these.
            batch_size: rows of a global batch; each data rank gets its share of them.
            min_batch_size: a last batch with fewer rows is left out; None: one with fewer rows than there are data ranks.
            device_mesh: whose data ranks share a batch.
            shuffle: a new order each epoch, from ``seed`` and the number of the epoch.
            drop_last: leaves out a last batch that is not full.
            seed: None is the seed of the run.
            max_retries: how many other rows are tried in place of one that raises or is None.
            num_workers: processes that read ahead; a stream uses one at most.
            prefetch_factor: batches that each of them reads ahead.
            timeout: seconds to wait for one of them; 0 waits for ever.
            multiprocessing_context: how they are started: "fork", "spawn" or "forkserver".

        Raises:
            InvalidArgument: sizes that do not fit, or something that has no rows.
        """
        self._num_ranks = 1 if device_mesh is None else device_mesh.data_world_size
        self._rank = 0 if device_mesh is None else device_mesh.data_rank
        self._mesh = device_mesh
        if batch_size < 1 or batch_size % self._num_ranks:
            raise InvalidArgument(
                f"batch_size is the global one, of all data ranks together: expected a multiple of {self._num_ranks}, got {batch_size}"
            )
        self.batch_size = batch_size
        self.min_batch_size = batch_size if drop_last else self._num_ranks if min_batch_size is None else min_batch_size
        if not 0 < self.min_batch_size <= batch_size:
            raise InvalidArgument(f"min_batch_size is at least 1 and at most batch_size {batch_size}, got {min_batch_size}")
        self.dataset = _rows_of(dataset)
        self.shuffle = shuffle
        self.seed = current().seed if seed is None else seed
        self._max_retries = max_retries
        self._workers = Workers(
            num_workers=num_workers, prefetch_factor=prefetch_factor, timeout_s=timeout, context=multiprocessing_context
        )
        self._processor: Callable[[Sequence[Any]], Any] | None = None
        self._position = Position()
        self._next_epoch = 0
        self._resume_at: int | None = None

    @remote_function(dispatch="all")
    def set_processor(self, processor_cls: Any, **init: Any) -> None:
        """Batches become what this processor (class, instance, name, hub id, function) makes of a list of rows."""
        self._processor = build_resolved(resolve("processor", processor_cls), init, {"device_mesh": self._mesh})

    @remote_function(collect="first")
    def __len__(self) -> int:
        """Batches of an epoch, exactly as many as come."""
        return self._plan().num_batches

    @remote_function()
    def __iter__(self) -> Iterator[Any]:
        batches = self._stream_batches() if _is_stream(self.dataset) else self._batches()
        return batches if self._processor is None else map(self._processor, batches)

    # ---- position

    @remote_function(collect="first")
    def get_state(self) -> dict[str, int]:
        """What :meth:`resume_from_checkpoint` needs: the rows of all global batches that were handed out, over all epochs."""
        return {"consumed_train_samples": self._position.consumed}

    @remote_function(dispatch="all")
    def resume_from_checkpoint(self, consumed_train_samples: int) -> None:
        """The next ``iter()`` goes on after this many rows, in the epoch and order where they ended."""
        if consumed_train_samples < 0:
            raise InvalidArgument(f"consumed_train_samples is 0 or more, got {consumed_train_samples}")
        self._resume_at = consumed_train_samples

    @remote_function(dispatch="all")
    def skip_consumed_samples(self, consumed_train_samples: int) -> None:
        """The same as :meth:`resume_from_checkpoint`."""
        self.resume_from_checkpoint(consumed_train_samples)

    # ---- batches

    def _plan(self) -> EpochPlan:
        if _is_stream(self.dataset):
            raise InvalidArgument("a stream has no length: count steps instead of len(dataloader)")
        return EpochPlan(
            num_rows=len(self.dataset),
            batch_size=self.batch_size,
            min_batch_size=self.min_batch_size,
            shuffle=self.shuffle,
            seed=self.seed,
        )

    def _batches(self) -> Iterator[list[Any]]:
        plan = self._plan()
        if plan.num_batches == 0:
            raise InvalidData(f"{plan.num_rows} rows make no batch: min_batch_size is {self.min_batch_size}")
        epoch, skipped = (self._next_epoch, 0) if self._resume_at is None else divmod(self._resume_at, plan.num_samples)
        self._resume_at, self._next_epoch = None, epoch + 1
        batches = list(plan.batches(epoch, skipped))
        keys = [(epoch, batch[balanced_slice(len(batch), self._num_ranks, self._rank)].tolist()) for batch in batches]
        fetcher = RowFetcher(rows=self.dataset, max_retries=self._max_retries, seed=self.seed)
        offset = skipped
        for batch, rows in zip(batches, self._workers.read(fetcher, keys), strict=True):
            offset += len(batch)
            self._position = Position(epoch=epoch, epoch_start=epoch * plan.num_samples, offset=offset)
            yield rows

    def _stream_batches(self) -> Iterator[list[Any]]:
        start = Position(epoch=self._position.epoch, epoch_start=self._position.epoch_start)
        if self._resume_at is not None:
            start, self._resume_at = Position(offset=self._resume_at), None
        batches = StreamBatches(
            rows=self.dataset,
            batch_size=self.batch_size,
            min_batch_size=self.min_batch_size,
            num_ranks=self._num_ranks,
            rank=self._rank,
            seed=self.seed if self.shuffle else None,
            start=start,
        )
        for position, rows in self._workers.read_stream(batches):
            self._position = position
            yield rows
        done = self._position
        self._position = Position(epoch=done.epoch + 1, epoch_start=done.consumed)


def _rows_of(dataset: Any) -> Any:
    made = dataset() if callable(dataset) else dataset
    if isinstance(made, datasets.Dataset | datasets.IterableDataset):
        return Dataset(DatasetMeta(data=made))
    if not isinstance(made, Rows | Iterable):
        raise InvalidArgument(f"DataLoader expects a data set, rows or a function that makes them; got {type(made).__name__}")
    return made


def _is_stream(rows: object) -> bool:
    return rows.streaming if isinstance(rows, Dataset) else not isinstance(rows, Rows)
