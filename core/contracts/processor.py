"""The contract of a batch processor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from twinkle.core.types import InputFeature


class Processor(Protocol):
    """Collates features. A plain function of the same form is one too."""

    @abstractmethod
    def __call__(self, inputs: Sequence[InputFeature]) -> Mapping[str, Any]:
        """One batch of tensors: padded (``[num_sequences, max_length]``) or flat (``[1, num_tokens]`` with ``cu_seqlens``)."""
