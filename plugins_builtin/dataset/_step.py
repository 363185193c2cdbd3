"""One ``map`` or ``filter`` over a data set: in memory, from files with a cache that several ranks share, or as a stream."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import datasets
from filelock import FileLock

from twinkle.core.errors import InvalidArgument
from twinkle.core.signature import named_parameters
from twinkle.core.suggestion import did_you_mean
from twinkle.plugins_builtin.dataset._source import cache_folder, check_num_proc

Operation = Literal["map", "filter"]
_METHODS: Mapping[Operation, Callable[..., Any]] = {"map": datasets.Dataset.map, "filter": datasets.Dataset.filter}
_STREAM_METHODS: Mapping[Operation, Callable[..., Any]] = {"map": datasets.IterableDataset.map, "filter": datasets.IterableDataset.filter}
_NOT_IN_KEY = frozenset({"num_proc", "desc", "load_from_cache_file", "keep_in_memory", "writer_batch_size", "cache_file_name"})


@runtime_checkable
class Fingerprinted(Protocol):
    """A component whose results may be kept across runs, because it can say what they depend on."""

    def fingerprint(self) -> str | None:
        """The same text only where the same row gives the same result: class, code, arguments, files. None where that cannot be said."""


Identity = Callable[[], str | None]
"""Says what a result depends on besides the rows; None where nobody can say. It may take long: half a second for a tokenizer."""


def fingerprint_of(component: object) -> str | None:
    """What the results of ``component`` depend on; None where it does not say, and nothing is kept."""
    return component.fingerprint() if isinstance(component, Fingerprinted) else None


def check_options(operation: Operation, options: Mapping[str, Any]) -> None:
    """Raises InvalidArgument for an option that neither we nor ``datasets`` take."""
    known = set(named_parameters(_METHODS[operation])) - {"self", "function"}
    for name in options:
        if name not in known:
            raise InvalidArgument(f"Dataset.{operation} does not take the argument {name!r}.{did_you_mean(name, known)}")
    check_num_proc(options.get("num_proc"))


def run_step(rows: Any, operation: Operation, function: Callable[..., Any], identity: Identity, options: Mapping[str, Any]) -> Any:
    """``rows`` after ``function``.

    Args:
        identity: asked where rows lie in files. Where it says, the result is kept in a file: the first process that comes makes it, others
            wait for that and read it. Otherwise every process computes in memory.
    """
    if isinstance(rows, datasets.IterableDataset):
        method = _STREAM_METHODS[operation]
        return method(rows, function, **{name: value for name, value in options.items() if name in named_parameters(method)})
    method = _METHODS[operation]
    wish = options.get("load_from_cache_file")
    arguments = {name: value for name, value in options.items() if name != "load_from_cache_file"}
    told = None
    if wish is not False and rows.cache_files and not options.get("keep_in_memory"):
        told = identity()
        if told is None and wish:
            told = datasets.fingerprint.Hasher.hash(function)
    if told is None:
        arguments["keep_in_memory"] = True
        return method(rows, function, **arguments, load_from_cache_file=False, new_fingerprint=uuid.uuid4().hex[:16])
    fingerprint = _digest(rows, operation, told, options)
    folder = cache_folder() / "steps"
    folder.mkdir(parents=True, exist_ok=True)
    arguments["cache_file_name"] = str(folder / f"{fingerprint}.arrow")
    with FileLock(folder / f"{fingerprint}.lock"):
        return method(rows, function, **arguments, load_from_cache_file=True, new_fingerprint=fingerprint)


def _digest(rows: Any, operation: Operation, identity: str, options: Mapping[str, Any]) -> str:
    shaping = {name: repr(value) for name, value in sorted(options.items()) if name not in _NOT_IN_KEY}
    text = json.dumps([rows._fingerprint, operation, identity, shaping, datasets.__version__])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
