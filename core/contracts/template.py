"""The contract of a template."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twinkle.core.types import InputFeature, Trajectory


class Template(Protocol):
    """Turns messages into token ids and labels, and back."""

    @abstractmethod
    def batch_encode(self, trajectories: Sequence[Trajectory], add_generation_prompt: bool = False) -> list[InputFeature]:
        """The features of ``trajectories``. Labels are shifted: ``labels[i]`` is the target that position i predicts, -100 where none."""

    @abstractmethod
    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of ``token_ids``."""

    @abstractmethod
    def concat_input_feature(self, prompt: InputFeature, new_tokens: Sequence[int]) -> InputFeature:
        """``prompt`` continued by ``new_tokens``, with exactly those as labels; every other column of ``prompt`` survives."""
