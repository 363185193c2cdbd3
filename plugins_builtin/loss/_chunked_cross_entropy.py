"""Cross entropy with a bound on how many tokens' logits exist at a time."""

from __future__ import annotations

from typing import Literal

from twinkle.core.errors import InvalidArgument
from twinkle.plugins_builtin.loss._cross_entropy import CrossEntropyLoss


class ChunkedCrossEntropyLoss(CrossEntropyLoss):
    """:class:`CrossEntropyLoss` in chunks of ``chunk_size`` tokens: the same numbers, ``chunk_size x vocabulary`` of memory."""

    def __init__(
        self, chunk_size: int = 1024, reduction: Literal["mean", "sum"] = "mean", ignore_index: int = -100, dft: bool = False
    ) -> None:
        """
        Args:
            chunk_size: tokens whose logits exist at a time.
            reduction, ignore_index, dft: as in :class:`CrossEntropyLoss`.
        """
        if chunk_size < 1:
            raise InvalidArgument(f"chunk_size: expected a whole number of 1 or more, got {chunk_size}")
        super().__init__(reduction, ignore_index, dft)
        self.chunk_size = chunk_size
