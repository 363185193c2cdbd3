"""The contract of an advantage."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Advantage(Protocol):
    """Turns the rewards of sampled groups into advantages. Pure: same rewards in, same advantages out, nothing kept."""

    @abstractmethod
    def __call__(self, rewards_PG: Tensor) -> Tensor:
        """Advantages of ``rewards_PG`` (prompts x samples), in its shape and dtype."""
