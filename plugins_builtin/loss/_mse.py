"""Mean squared error of the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from twinkle.core.contracts.loss import Loss
from twinkle.core.errors import InvalidData
from twinkle.core.types import LossOutput


class MSELoss(Loss):
    """``sum (z - y)^2`` over the entries of ``outputs['logits']`` and labels of the same shape, divided by their number.

    For models whose head regresses: one value a sequence or a token, or a vector of values.
    """

    require_logits: ClassVar[bool] = True
    require_logps: ClassVar[bool] = False

    def __call__(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> LossOutput:
        """The squared errors, over the entries whose label is not -100.

        Raises:
            InvalidData: logits and labels differ in shape.
        """
        logits, labels = outputs["logits"], inputs["labels"]
        if logits.shape != labels.shape and logits.shape == (*labels.shape, 1):
            logits = logits[..., 0]
        if logits.shape != labels.shape:
            raise InvalidData(f"MSELoss: expected labels in the shape of the logits, {tuple(logits.shape)}, got {tuple(labels.shape)}")
        counted = labels != -100
        errors = (logits - labels.to(logits.dtype)).masked_fill(~counted, 0.0)
        return {"loss": (errors**2).sum(), "num_tokens": counted.sum(), "domain": "token"}
