"""From a :class:`DatasetMeta` to a Hugging Face data set: files read, memory wrapped, rows selected."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.repository_files import repository_folder
from twinkle.core.runtime.context import current
from twinkle.core.suggestion import did_you_mean
from twinkle.plugins_builtin.dataset._encoding_error import encoding_error
from twinkle.plugins_builtin.dataset._json_error import json_error
from twinkle.plugins_builtin.dataset._meta import DatasetMeta

_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}")
_OTHER_SPLITS = frozenset({"test", "validation", "valid", "val", "dev"})


@dataclass(frozen=True, slots=True)
class _Reader:
    read: Callable[..., Any]
    stream: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)


_TEXT = _Reader(datasets.Dataset.from_text, datasets.IterableDataset.from_text)
_JSON = _Reader(datasets.Dataset.from_json, datasets.IterableDataset.from_json)
_READERS = {
    ".jsonl": _JSON,
    ".json": _JSON,
    ".csv": _Reader(datasets.Dataset.from_csv, datasets.IterableDataset.from_csv, {"na_filter": False}),
    ".txt": _TEXT,
    ".parquet": _Reader(datasets.Dataset.from_parquet, datasets.IterableDataset.from_parquet),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """How rows are read."""

    streaming: bool = False
    """Rows are read while they are used; nothing is kept."""
    num_proc: int | None = None
    """Processes that read files."""
    revision: str | None = None
    """Revision of a hub's repository."""

    def __post_init__(self) -> None:
        check_num_proc(self.num_proc)


def check_num_proc(num_proc: object) -> None:
    """Raises InvalidArgument where ``num_proc`` is no number of processes."""
    if num_proc is not None and (type(num_proc) is not int or num_proc < 1):
        raise InvalidArgument(f"num_proc: expected 1 or more processes, or None for this one alone, got {num_proc!r}")


def cache_folder() -> Path:
    """Where converted files and the results of map and encode lie."""
    return current().settings.home / "datasets"


def load_rows(meta: DatasetMeta, options: LoadOptions) -> tuple[Any, list[Path]]:
    """The rows of ``meta`` as a ``datasets.Dataset``, or a ``datasets.IterableDataset`` when streaming; and the files that hold them.

    Raises:
        InvalidData: a file, split or subset is missing, a file cannot be parsed (with its line), or there is no row.
        HubUnavailable: no hub has the id.
    """
    files = find_files(meta, options.revision) if meta.data is None else []
    rows = _from_files(files, options) if files else _from_memory(meta, options)
    return _sliced(rows, meta), files


def _sliced(rows: Any, meta: DatasetMeta) -> Any:
    if isinstance(rows, datasets.IterableDataset):
        return rows if meta.data_slice is None else _slice_stream(rows, meta)
    if len(rows) == 0:
        raise InvalidData(f"{meta.title} holds no rows: expected one at least")
    if meta.data_slice is None:
        return rows
    wrapped = np.fromiter(meta.data_slice, dtype=np.int64) % len(rows)
    return rows.select(wrapped)


def _from_memory(meta: DatasetMeta, options: LoadOptions) -> Any:
    data = meta.data() if callable(meta.data) else meta.data
    match data:
        case datasets.DatasetDict() | datasets.IterableDatasetDict():
            if meta.split not in data:
                raise InvalidData(f"the data set in memory has no split {meta.split!r}.{did_you_mean(meta.split, data)}")
            rows = data[meta.split]
        case datasets.Dataset() | datasets.IterableDataset():
            rows = data
        case Mapping():
            rows = datasets.Dataset.from_dict(dict(data))
        case Iterable() if not isinstance(data, str | bytes):
            rows = datasets.Dataset.from_list(_checked_rows(data))
        case _:
            expected = "a list of rows, a mapping of columns, a Hugging Face data set, or a function that returns one of these"
            raise InvalidArgument(f"DatasetMeta(data=...): expected {expected}; got {type(data).__name__}")
    return rows.to_iterable_dataset() if options.streaming and isinstance(rows, datasets.Dataset) else rows


def _checked_rows(data: Iterable[Any]) -> list[Mapping[str, Any]]:
    rows = list(data)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidData(f"row {number} of the rows in memory: expected a mapping of column to value, got {type(row).__name__}")
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]


def _from_files(files: Sequence[Path], options: LoadOptions) -> Any:
    reader = _READERS[files[0].suffix.lower()]
    paths = [str(path) for path in files]
    empty = [path for path in files if path.stat().st_size == 0]
    if empty:
        raise InvalidData(f"{empty[0]} is empty: expected one row at least")
    try:
        if options.streaming:
            rows = reader.stream(paths, cache_dir=str(cache_folder()), **reader.arguments)
        else:
            rows = reader.read(paths, cache_dir=str(cache_folder()), num_proc=options.num_proc, **reader.arguments)
    except (datasets.exceptions.DatasetGenerationError, pa.ArrowException, ValueError) as error:
        raise _file_error(files, error) from error
    return _without_blank_lines(rows) if reader is _TEXT else rows


def _without_blank_lines(lines: Any) -> Any:
    """``lines`` of text files without those that are empty or white space alone: they part paragraphs and are no rows."""
    if isinstance(lines, datasets.IterableDataset):
        return lines.filter(_hold_text, batched=True)
    kept = np.flatnonzero(_holds_text(lines.data.column("text")))
    return lines if len(kept) == len(lines) else lines.select(kept)


def _hold_text(batch: Mapping[str, Sequence[str]]) -> list[bool]:
    held: list[bool] = _holds_text(pa.chunked_array([batch["text"]], pa.string())).tolist()
    return held


def _holds_text(lines: pa.ChunkedArray) -> Any:
    blank = pa.compute.or_(pa.compute.equal(lines, ""), pa.compute.utf8_is_space(lines))
    return pa.compute.invert(blank).to_numpy()


def told_by_line(rows: Iterator[dict[str, Any]], files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """``rows``; a line of ``files`` that cannot be parsed is told as :func:`load_rows` does."""
    try:
        yield from rows
    except (pa.ArrowException, ValueError) as error:
        found = _broken_line(files)
        if found is None:
            raise
        raise found from error


@contextmanager
def undecodable_line_told(files: Sequence[Path]) -> Iterator[None]:
    """Where bytes turn out not to be UTF-8, names the line: Arrow's JSON reader takes them as they are, and reading a row fails."""
    try:
        yield
    except UnicodeDecodeError as error:
        found = _broken_line(files)
        if found is None:
            raise
        raise found from error


def _file_error(files: Sequence[Path], error: Exception) -> InvalidData:
    reason = error.__cause__ or error
    return _broken_line(files) or InvalidData(f"{', '.join(map(str, files))} could not be read: {type(reason).__name__}: {reason}")


def _broken_line(files: Sequence[Path]) -> InvalidData | None:
    for path in files:
        suffix = path.suffix.lower()
        error = None if suffix == ".parquet" else encoding_error(path)
        if error is None and _READERS[suffix] is _JSON:
            error = json_error(path)
        if error is not None:
            return error
    return None


def find_files(meta: DatasetMeta, revision: str | None = None) -> list[Path]:
    """The files that hold the split: the file itself, or ``<split>.<ext>`` and its shards in a repository's folder.

    Raises:
        InvalidData: there is no such file, subset or split; the message lists those there are.
    """
    text = str(meta.dataset_id)
    local = Path(text).expanduser()
    if "://" not in text and not local.exists() and local.suffix.lower() in _READERS:
        raise InvalidData(f"there is no file {text}: expected an existing {', '.join(_READERS)} file, a folder, or a hub id")
    root = repository_folder(f"{text}@{revision}" if revision and not local.exists() else meta.dataset_id, "dataset")
    if root.is_file():
        if root.suffix.lower() not in _READERS:
            raise InvalidData(f"{root}: expected a file that ends in {', '.join(_READERS)}")
        return [root]
    folder = root
    if meta.subset_name != "default":
        folder = root / meta.subset_name
        if not folder.is_dir():
            subsets = sorted(
                path.name for path in root.iterdir() if path.is_dir() and path.name != "data" and not path.name.startswith(".")
            )
            there = ", ".join(map(repr, subsets)) if subsets else "none but 'default'"
            raise InvalidData(f"{meta.dataset_id} has no subset {meta.subset_name!r} under {root}; there is {there}")
    splits = _splits(folder)
    if meta.split in splits:
        return splits[meta.split]
    if meta.split == "train" and len(splits) == 1 and not _OTHER_SPLITS & set(splits):
        return next(iter(splits.values()))  # a repository of one file that bears a name of its own
    unnamed = "" if splits else f" and no other {', '.join(_READERS)} file"
    there = f"; there is {', '.join(map(repr, sorted(splits)))}" if splits else unnamed
    raise InvalidData(
        f"{meta.title} has no split {meta.split!r}: expected {folder / meta.split}.jsonl, .json, .csv, .txt or .parquet{there}"
    )


def _splits(folder: Path) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for path in [*sorted(folder.iterdir()), *sorted((folder / "data").glob("*"))]:
        if path.suffix.lower() in _READERS and path.is_file() and path.name != "dataset_infos.json":
            shard = _SHARD.fullmatch(path.stem)
            splits.setdefault(shard["split"] if shard else path.stem, []).append(path)
    for split, files in splits.items():
        if len({path.suffix.lower() for path in files}) > 1:
            raise InvalidData(f"{folder}: split {split!r} is there in several formats: {', '.join(p.name for p in files)}; keep one")
    return splits


def _slice_stream(rows: Any, meta: DatasetMeta) -> Any:
    wanted = meta.data_slice
    if not isinstance(wanted, range) or wanted.step < 1 or wanted.start < 0:
        raise InvalidArgument(f"a stream can only be cut by a range that counts up, such as range(100); got data_slice={wanted!r}")
    rows = rows.skip(wanted.start).take(wanted.stop - wanted.start)
    if wanted.step == 1:
        return rows
    return rows.filter(_EveryNth(wanted.step), with_indices=True)


@dataclass(frozen=True, slots=True)
class _EveryNth:
    step: int

    def __call__(self, row: Mapping[str, Any], index: int) -> bool:
        return index % self.step == 0
