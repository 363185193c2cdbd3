"""A mapping whose values are computed when somebody reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class Deferred(Mapping[str, Any]):
    """Values by name, each computed at its first reading and kept. What is not read costs nothing, and waits for no device.

    Pickled it is a plain dict of all values: who gets it in another process has them at once.
    """

    def __init__(self, computations: Mapping[str, Callable[[], Any]]) -> None:
        self._names = tuple(computations)
        self._pending = dict(computations)
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._pending:
            self._values[name] = self._pending[name]()
            del self._pending[name]  # with what it holds on to
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)
