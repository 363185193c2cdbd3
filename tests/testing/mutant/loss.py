"""A loss, and wrong ones."""

from __future__ import annotations

from typing import Any

import torch

from twinkle.testing import Example


class GoodLoss:
    """Cross entropy of given log-probabilities."""

    def __call__(self, inputs: Any, outputs: Any) -> Any:
        counted = inputs["labels"] != -100
        return self.sums(outputs["logps"].masked_fill(~counted, 0.0), counted)

    def sums(self, logps: Any, counted: Any) -> Any:
        return {"loss": -logps.sum(), "num_tokens": counted.sum(), "domain": "token"}


class MeanOfSome(GoodLoss):
    """Right as well: a mean that says over how many tokens it was taken."""

    def __call__(self, inputs: Any, outputs: Any) -> Any:
        counted = (inputs["labels"] != -100) & (inputs["labels"] % 2 == 0)
        total = -outputs["logps"].masked_fill(~counted, 0.0).sum()
        return {"loss": total / counted.sum().clamp(min=1), "num_tokens": 0, "domain": "token", "mean_over": counted.sum()}


class UnknownDomain(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        return {**super().sums(logps, counted), "domain": "tokens"}


class DoubleGradient(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        return super().sums(2 * logps - logps.detach(), counted)


class MeanOfEachSequence(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        return {"loss": -(logps.sum(1) / counted.sum(1)).sum(), "num_tokens": torch.tensor(len(logps)), "domain": "sequence"}


class CountsIgnored(GoodLoss):
    def __call__(self, inputs: Any, outputs: Any) -> Any:
        counted = inputs["labels"] != -100
        result = super().__call__(inputs, outputs)
        ignored = outputs["logps"].masked_fill(counted, 0.0) * counted.any(dim=1, keepdim=True)
        return {**result, "loss": result["loss"] + 1e-3 * ignored.sum()}


class CountsPadding(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        result = super().sums(logps, counted)
        return {**result, "loss": result["loss"] + 0.1 * (counted.any() & ~counted[:, -2:].any())}


class FirstIsTheAnchor(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        weights = 1 + 0.1 * torch.arange(len(logps), dtype=logps.dtype)
        return {"loss": -(logps.sum(1) * weights).sum(), "num_tokens": torch.tensor(1.0), "domain": "batch"}


class MeanOfTokensAsMeanOfSequences(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        return -logps.sum() / counted.sum().clamp(min=1)


class SumsOneByOne(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        total = logps.new_zeros(())
        for value in logps.flatten():
            total = total - value
        return {**super().sums(logps, counted), "loss": total}


class LooksAtTheDevice(GoodLoss):
    def sums(self, logps: Any, counted: Any) -> Any:
        assert bool(counted.numel() > 0) and float(counted.sum()) >= 0
        return super().sums(logps, counted)


class WritesIntoOutputs(GoodLoss):
    def __call__(self, inputs: Any, outputs: Any) -> Any:
        outputs["per_token"] = outputs["logps"].detach()
        return super().__call__(inputs, outputs)


GOOD = (GoodLoss, Example())
MUTANTS = {
    "returns_a_sum_and_its_denominator": (UnknownDomain, Example()),
    "gradient_is_that_of_finite_differences": (DoubleGradient, Example()),
    "a_batch_without_labels_counts_nothing": (MeanOfEachSequence, Example()),
    "positions_without_a_label_do_not_count": (CountsIgnored, Example()),
    "padding_does_not_count": (CountsPadding, Example()),
    "order_does_not_count": (FirstIsTheAnchor, Example()),
    "micro_batches_add_up": (MeanOfTokensAsMeanOfSequences, Example()),
    "bfloat16_stays_close": (SumsOneByOne, Example()),
    "reads_nothing_back_from_the_device": (LooksAtTheDevice, Example()),
    "is_pure": (WritesIntoOutputs, Example()),
}
