"""Cross entropy of the next token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from twinkle.core.contracts.loss import Loss
from twinkle.core.errors import InvalidArgument
from twinkle.core.types import IGNORE_INDEX, LossOutput


class CrossEntropyLoss(Loss):
    """``-sum_t log p(label_t)`` over the positions with a label, divided by their number.

    With ``dft`` each token is weighted by its own probability, without gradient (Wu et al. 2025, arXiv 2508.05629, eq. 9).
    """

    layout: ClassVar[Literal["padded", "flat"]] = "flat"

    def __init__(self, reduction: Literal["mean", "sum"] = "mean", ignore_index: int = -100, dft: bool = False) -> None:
        """
        Args:
            reduction: what the call returns: the mean, or the sum with its denominator. A training step is the same for both.
            ignore_index: the label of a position that does not count; one of -100 never does.
            dft: weight each token by its probability.
        """
        if reduction not in ("mean", "sum"):
            raise InvalidArgument(f"reduction: expected 'mean' or 'sum', got {reduction!r}")
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.dft = dft

    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> LossOutput:
        """The loss of ``outputs['logps']`` at ``inputs['labels']``, both of any same shape."""
        counted = inputs["labels"] != IGNORE_INDEX
        if self.ignore_index != IGNORE_INDEX:
            counted = counted & (inputs["labels"] != self.ignore_index)
        logps = outputs["logps"].masked_fill(~counted, 0.0)
        total = -(logps.detach().exp() * logps).sum() if self.dft else -logps.sum()
        num_tokens = counted.sum()
        if self.reduction == "sum":
            return {"loss": total, "num_tokens": num_tokens, "domain": "token"}
        mean: LossOutput = {"loss": total / num_tokens.clamp(min=1), "num_tokens": 0, "domain": "token"}
        if self.ignore_index != IGNORE_INDEX:
            mean["mean_over"] = num_tokens
        return mean
