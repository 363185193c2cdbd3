"""The contract of a loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from twinkle.core.types import LossOutput


class Loss(Protocol):
    """Turns what a model computed into a sum and its denominator. Pure: nothing is remembered between calls.

    A plain function ``f(inputs, outputs) -> scalar`` is a loss too: a mean over the sequences of the batch.
    A subclass may name further arguments (``old_logps``, ``advantages``); they come from the keyword arguments of
    ``forward_backward`` by name, and an argument that no one names is an error there.
    """

    require_logits: ClassVar[bool] = False
    """Whether ``outputs['logits']`` is read. Logits are ``[tokens, vocabulary]`` large: say so only where it is."""
    require_logps: ClassVar[bool] = True
    """Whether ``outputs['logps']`` is read: the log-probability of each label, in the shape of the labels."""
    require_entropy: ClassVar[bool] = False
    """Whether ``outputs['entropies']`` is read: the entropy of each position's distribution, in nats."""
    layout: ClassVar[Literal["padded", "flat"]] = "padded"
    """``padded``: labels and logps are ``[num_sequences, max_length]``; ``flat``: ``[1, num_tokens]`` with ``cu_seqlens``."""

    chunk_size: int | None = None
    """Tokens whose logits may exist at a time; None leaves it to the model."""

    @abstractmethod
    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> LossOutput:
        """The loss of one micro-batch: a sum and what it is divided by (see :class:`twinkle.core.types.LossOutput`)."""
