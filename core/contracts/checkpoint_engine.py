"""The contract of a checkpoint engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class CheckpointEngine(Protocol):
    """Carries weights from a trainer to samplers. Each publication has a version, and a receiver knows which one it holds."""

    @abstractmethod
    def send_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Publishes ``weights`` as ``version``; returns when every receiver has them."""

    @abstractmethod
    def receive_weights(self) -> tuple[int, Iterator[tuple[str, Tensor]]]:
        """Waits for the next publication: its version and its weights."""
