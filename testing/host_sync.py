"""Counts the operations that make the host wait for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_READS = frozenset(
    {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2", "unique_dim", "unique_consecutive"}
)


@contextmanager
def host_syncs() -> Iterator[list[str]]:
    """The names of such operations inside the block: ``.item()``, ``bool(tensor)``, ``nonzero()``, ``x[mask]`` ..."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[str] = []

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            masks = args[1] if name in ("index", "index_put", "index_put_") and len(args) > 1 else ()
            if name in _READS or any(isinstance(m, torch.Tensor) and m.dtype in (torch.bool, torch.uint8) for m in masks):
                found.append(name)
            return func(*args, **(kwargs or {}))

    with Counter():  # type: ignore[no-untyped-call]
        yield found
