"""The contract of an environment."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twinkle.core.types import Message


class Environment(Protocol):
    """A task that an agent acts in, turn by turn. One instance is one episode."""

    @abstractmethod
    def reset(self, row: dict[str, Any]) -> list[Message]:
        """Begins the episode that ``row`` describes: the first messages."""

    @abstractmethod
    def step(self, action: Message) -> tuple[list[Message], float, bool]:
        """What follows on ``action``: new messages, the reward of this turn, whether the episode is over."""
