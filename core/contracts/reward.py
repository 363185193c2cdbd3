"""The contract of a reward."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twinkle.core.types import Trajectory


class Reward(Protocol):
    """Scores trajectories: one float each, in their order; changes none of them."""

    @abstractmethod
    def __call__(self, trajectories: Sequence[Trajectory], ground_truths: Sequence[Trajectory] | None = None) -> list[float]:
        """The scores of ``trajectories``; what is right comes from ``ground_truths`` or from each one's ``user_data``."""
