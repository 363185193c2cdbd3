"""The contract of a learning-rate scheduler: the part of ``torch.optim.lr_scheduler.LRScheduler`` that is called."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol


class LRScheduler(Protocol):
    """Sets the learning rate of the next optimizer step. Built with ``(optimizer, **its own arguments)``."""

    @abstractmethod
    def step(self) -> Any:
        """Called once after each optimizer step."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that a later step depends on."""

    @abstractmethod
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """The inverse of ``state_dict``."""
