"""The contract of an optimizer: the part of ``torch.optim.Optimizer`` that the step engine and checkpoints call."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol


class Optimizer(Protocol):
    """Updates parameters from their gradients. Built with ``(params, lr=..., **its own arguments)``."""

    @abstractmethod
    def step(self) -> Any:
        """One update."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that a later step depends on."""

    @abstractmethod
    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """The inverse of ``state_dict``."""
