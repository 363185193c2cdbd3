"""The contract of a kernel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol


class Kernel(Protocol):
    """A fast implementation and, beside it, the plain one that it must equal."""

    @abstractmethod
    def __call__(self, *tensors: Any) -> Any:
        """The fast path for the device that the tensors are on."""

    @abstractmethod
    def reference(self, *tensors: Any) -> Any:
        """The same in float32 and plain torch: what tests compare with, and what runs where there is no fast path."""
