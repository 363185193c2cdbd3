"""The data set: rows from files, hubs or memory; mapped, filtered, mixed and encoded in place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import datasets
import numpy as np

from twinkle.core.components import build
from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.runtime.remote import remote_class, remote_function
from twinkle.plugins_builtin.dataset._encode import ROW_COLUMN, CanEncode, EncodedColumns, EncodedRows
from twinkle.plugins_builtin.dataset._meta import DatasetMeta
from twinkle.plugins_builtin.dataset._row_function import KeepRows, MapRows, component_of, name_of, row_function
from twinkle.plugins_builtin.dataset._row_view import RowView
from twinkle.plugins_builtin.dataset._save import save_rows
from twinkle.plugins_builtin.dataset._shuffle import shuffle_stream
from twinkle.plugins_builtin.dataset._source import LoadOptions, load_rows, told_by_line, undecodable_line_told
from twinkle.plugins_builtin.dataset._step import Identity, Operation, check_options, fingerprint_of, run_step

if TYPE_CHECKING:
    from twinkle.core.contracts.template import Template

_logger = logging.getLogger(__name__)
_COLUMNAR = ("with_indices", "with_rank", "input_columns", "fn_kwargs")
"""Options of ``datasets`` whose functions have a form of their own: passed through as they are."""
STREAM_BATCH_ROWS = 128
"""Rows of a stream that are encoded at once: as many must be read before the first one comes."""


@remote_class(execute="first")
class Dataset:
    """Rows of one data set, or of several until :meth:`mix_dataset`.

    >>> dataset = Dataset(DatasetMeta("ms://swift/self-cognition", data_slice=range(1000)))
    >>> dataset.set_template("Template", model_id="ms://Qwen/Qwen3-4B")
    >>> dataset.map("self_cognition", init_args={"model_name": "Twinkle", "model_author": "us"})
    >>> dataset.encode()
    """

    def __init__(
        self,
        dataset_meta: DatasetMeta | Mapping[str, Any] | str | Path | None = None,
        *,
        streaming: bool = False,
        num_proc: int | None = None,
        revision: str | None = None,
    ) -> None:
        """
        Args:
            dataset_meta: the first data set; None: :meth:`add_dataset` gives it.
            streaming: rows are read while they are used: no length, no index.
            num_proc: processes that read files.
            revision: a branch, tag or commit of the hub; None is its default.
        """
        self.template: Template | None = None
        self._metas: list[DatasetMeta] = []
        self._parts: list[Any] = []
        self._files: list[Path] = []
        self._view: RowView | None = None
        self._options = LoadOptions(streaming=streaming, num_proc=num_proc, revision=revision)
        if dataset_meta is not None:
            self.add_dataset(dataset_meta)

    # ---- rows

    @property
    def dataset(self) -> Any:
        """The Hugging Face data set that holds the rows.

        Raises:
            InvalidArgument: nothing was added, or several data sets were and they are not mixed.
        """
        if len(self._parts) != 1:
            added = ", ".join(meta.title for meta in self._metas)
            expected = "call mix_dataset() first" if added else "call add_dataset(DatasetMeta(...)) first"
            raise InvalidArgument(f"{len(self._parts)} data sets were added{f' ({added})' if added else ''}: {expected}")
        return self._parts[0]

    @property
    def streaming(self) -> bool:
        """Whether rows are read while they are used: no length, no index."""
        return any(isinstance(part, datasets.IterableDataset) for part in self._parts)

    @property
    def encodes_on_access(self) -> bool:
        """Whether a row may still turn out to be one that cannot be encoded."""
        return False

    @property
    def title(self) -> str:
        """How messages name this data set."""
        return " + ".join(meta.title for meta in self._metas)

    @remote_function(collect="first")
    def __len__(self) -> int:
        if self.streaming:
            raise InvalidArgument(f"{self.title} is a stream: it has no length; count what comes")
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    @remote_function(dispatch="all", collect="first")
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return self.__getitems__(range(len(self))[index])
        return self.__getitems__([range(len(self))[index]])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at ``indices``, in one go."""
        with undecodable_line_told(self._files):
            rows: list[dict[str, Any]] = self.dataset.__getitems__(list(indices))
        return rows

    def fetch(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at ``indices`` as a loader wants them: lists of numbers are arrays."""
        with undecodable_line_told(self._files):
            return self._row_view().rows(indices)

    def _row_view(self) -> RowView:
        source = self.dataset
        if self._view is None or self._view.source is not source:
            self._view = RowView(source)
        return self._view

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_view": None}  # views would be sent as copies of the data

    @remote_function()
    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.stream(seed=None, epoch=0) if self.streaming else told_by_line(iter(self.dataset), self._files)

    def stream(self, seed: int | None, epoch: int) -> Iterator[dict[str, Any]]:
        """The rows of a stream, shuffled through a buffer by ``seed`` and ``epoch`` where there is a seed."""
        rows = told_by_line(iter(self.dataset), self._files)
        return rows if seed is None else shuffle_stream(rows, seed, epoch)

    # ---- putting together

    @remote_function(dispatch="all")
    def set_template(self, template_func: Any, **init: Any) -> None:
        """The template that encodes: a class, an instance, a name or a hub id, with its arguments (``model_id=``, ``max_length=`` ...)."""
        self.template = build("template", template_func, **init)

    @remote_function(dispatch="all")
    def add_dataset(
        self,
        dataset_meta: DatasetMeta | Mapping[str, Any] | str | Path,
        *,
        streaming: bool | None = None,
        num_proc: int | None = None,
        revision: str | None = None,
    ) -> None:
        """One more data set, beside those there are; what is left out is as this data set was made."""
        self._before_change("add_dataset")
        meta = DatasetMeta.of(dataset_meta)
        options = LoadOptions(
            streaming=self._options.streaming if streaming is None else streaming,
            num_proc=self._options.num_proc if num_proc is None else num_proc,
            revision=self._options.revision if revision is None else revision,
        )
        rows, files = load_rows(meta, options)
        self._parts.append(rows)
        self._metas.append(meta)
        self._files.extend(files)

    @remote_function(dispatch="all")
    def mix_dataset(self, interleave: bool = True) -> None:
        """All data sets as one: taking turns until the shortest ends, or one after the other."""
        self._before_change("mix_dataset")
        if len(self._parts) < 2:
            return
        join = datasets.interleave_datasets if interleave else datasets.concatenate_datasets
        try:
            self._parts = [join(self._parts)]
        except ValueError as error:
            columns = "; ".join(
                f"{meta.title}: {', '.join(part.column_names or ['unknown'])}" for meta, part in zip(self._metas, self._parts, strict=True)
            )
            raise InvalidData(f"the data sets cannot be mixed, their columns do not fit ({columns}): {error}") from error

    def _selected(self, dataset_meta: DatasetMeta | Mapping[str, Any] | str | Path | None, method: str) -> int:
        """The number of the part that ``dataset_meta`` means."""
        if dataset_meta is None or len(self._parts) < 2:
            self.dataset  # noqa: B018  # several parts without a choice, or none at all, are the errors of this property
            return 0
        wanted = DatasetMeta.of(dataset_meta)
        equal = [number for number, meta in enumerate(self._metas) if meta is wanted or (wanted.data is None and meta == wanted)]
        same_id = [number for number, meta in enumerate(self._metas) if meta.get_id() == wanted.get_id()]
        found = equal or same_id
        if len(found) != 1:
            there = ", ".join(meta.get_id() for meta in self._metas)
            many = "is there several times: pass the very DatasetMeta that was added" if found else "was not added"
            raise InvalidArgument(f"{method}(dataset_meta=...): {wanted.get_id()} {many}. There is {there}")
        return found[0]

    # ---- changing rows

    @remote_function(dispatch="all")
    def map(
        self,
        preprocess_func: Any,
        dataset_meta: DatasetMeta | Mapping[str, Any] | str | Path | None = None,
        init_args: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Applies a preprocessor to every row, in place; the columns that it returns are added or replaced.

        Args:
            preprocess_func: a class, an instance, a name, a hub id, or a function. Functions get a row, with ``batched=True`` columns.
            dataset_meta: which data set, where several were added.
            init_args: arguments of a class or name.
            options: those of ``datasets.Dataset.map`` (``num_proc``, ``remove_columns``, ``load_from_cache_file`` ...).
        """
        self._before_change("map")
        check_options("map", options)
        number = self._selected(dataset_meta, "map")
        preprocessor = component_of("preprocessor", preprocess_func, init_args)
        title = self._title_of(number)
        options = {"desc": f"{name_of(preprocessor)} on {title}", **options}
        function: Any = preprocessor
        if not any(options.get(name) for name in ("batched", *_COLUMNAR)):
            function = MapRows(row_function(preprocessor), name_of(preprocessor), title)
            options |= {"batched": True, "with_indices": True}
        self._run(number, "map", function, partial(fingerprint_of, preprocessor), options)

    @remote_function(dispatch="all")
    def filter(
        self,
        filter_func: Any,
        dataset_meta: DatasetMeta | Mapping[str, Any] | str | Path | None = None,
        init_args: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Keeps the rows for which ``filter_func`` (class, instance, name, hub id, function of a row) says true, in place."""
        self._before_change("filter")
        check_options("filter", options)
        number = self._selected(dataset_meta, "filter")
        keep = component_of("filter", filter_func, init_args)
        title = self._title_of(number)
        options = {"desc": f"{name_of(keep)} on {title}", **options}
        function: Any = keep
        if not any(options.get(name) for name in ("batched", *_COLUMNAR)):
            function = KeepRows(keep, name_of(keep), title)
            options |= {"batched": True, "with_indices": True}
        self._run(number, "filter", function, partial(fingerprint_of, keep), options)
        self._require_rows(number, f"{name_of(keep)} kept no row of {title}")

    @remote_function(dispatch="all")
    def cast_column(self, column: str, feature: Any) -> None:
        """Gives ``column`` the type ``feature`` (of ``datasets``), in place."""
        self._before_change("cast_column")
        self._require_column(column)
        self._parts = [part.cast_column(column, feature) for part in self._parts]

    @remote_function(dispatch="all")
    def check(self, dataset_meta: DatasetMeta | Mapping[str, Any] | str | Path | None = None, **options: Any) -> None:
        """Drops the rows that the template cannot encode, and logs how many and why; of ``dataset_meta``, or of all that were added."""
        self._before_change("check")
        check_options("filter", options)
        template = self._require_template("check")
        for number in range(len(self._parts)) if dataset_meta is None else [self._selected(dataset_meta, "check")]:
            refused: list[str] = []
            title = self._title_of(number)
            # in this process, where the reasons are collected
            mine = {"desc": f"checking {title}", **options, "batched": True, "num_proc": None}
            self._run(number, "filter", CanEncode(template, refused), _nobody_can_say, mine)
            if refused:
                _logger.warning("%d rows of %s cannot be encoded and were dropped; the first: %s", len(refused), title, refused[0])
            self._require_rows(number, f"check() found no row of {title} that can be encoded; the first: {refused[0] if refused else ''}")

    @remote_function(dispatch="all")
    def encode(self, add_generation_prompt: bool = False, **options: Any) -> None:
        """Adds ``input_ids``, ``labels`` and the other columns of a feature, in place; the original columns stay.

        One ``template.batch_encode`` call per ``batch_size`` (1,000; 128 of a stream) rows. Rows that encode to nothing are dropped.
        """
        self._before_change("encode")
        check_options("map", options)
        template = self._require_template("encode")

        @cache  # the same for every data set
        def identity() -> str | None:
            fingerprint = fingerprint_of(template)
            return None if fingerprint is None else f"{fingerprint} add_generation_prompt={add_generation_prompt}"

        for number, part in enumerate(self._parts):
            title = self._title_of(number)
            shared = {"desc": f"encoding {title}", **options, "batched": True, "with_indices": True}
            if isinstance(part, datasets.IterableDataset):
                shared = {"batch_size": STREAM_BATCH_ROWS, **shared}
                self._run(number, "map", EncodedRows(template, add_generation_prompt, title), _nobody_can_say, shared)
                continue
            function = EncodedColumns(template, add_generation_prompt, title)
            shared["remove_columns"] = part.column_names
            with undecodable_line_told(self._files):
                encoded = run_step(part, "map", function, identity, shared)
            if len(encoded) == 0:
                raise InvalidData(f"no row of {title} is left after encoding: the template dropped all {len(part)}")
            self._parts[number] = _beside(part, encoded)

    # ---- out

    @remote_function(dispatch="all", collect="first")
    def save_as(self, path: str | Path, format: str | None = None, batch_size: int = 1000) -> Path:
        """Writes the rows to ``path`` as json lines, csv or parquet (by its ending, where ``format`` does not say)."""
        return save_rows(self, Path(path), format, batch_size)

    # ---- shared

    def _before_change(self, method: str) -> None:
        """Called before ``method`` changes rows; a subclass may refuse."""

    def _run(self, number: int, operation: Operation, function: Callable[..., Any], identity: Identity, options: Mapping[str, Any]) -> None:
        with undecodable_line_told(self._files):
            self._parts[number] = run_step(self._parts[number], operation, function, identity, options)

    def _title_of(self, number: int) -> str:
        return self._metas[number].title if len(self._parts) == len(self._metas) else self.title

    def _require_template(self, method: str) -> Template:
        if not self._parts:
            raise InvalidArgument(f"{method}() on a data set without rows: call add_dataset(DatasetMeta(...)) first")
        if self.template is None:
            raise InvalidArgument(f"{method}() needs a template: call set_template('Template', model_id=...) first")
        return self.template

    def _require_rows(self, number: int, message: str) -> None:
        part = self._parts[number]
        if isinstance(part, datasets.Dataset) and len(part) == 0:
            raise InvalidData(f"{message}: the data set would be empty")

    def _require_column(self, column: str) -> None:
        for part, meta in zip(self._parts, self._metas, strict=False):
            if part.column_names is not None and column not in part.column_names:
                raise InvalidArgument(f"{meta.title} has no column {column!r}; its columns: {', '.join(part.column_names)}")


def _nobody_can_say() -> None:
    """The identity of a result that is never kept."""


def _beside(part: Any, encoded: Any) -> Any:
    """The encoded columns beside the original ones, which are not rewritten."""
    kept = encoded.data.column(ROW_COLUMN).to_numpy()
    features = encoded.remove_columns(ROW_COLUMN)
    replaced = [column for column in part.column_names if column in features.column_names]
    if len(replaced) == len(part.column_names):
        return features
    originals = part.remove_columns(replaced) if replaced else part
    if len(kept) != len(part) or not np.array_equal(kept, np.arange(len(part))):
        originals = originals.select(kept)
    return datasets.concatenate_datasets([originals, features], axis=1)
