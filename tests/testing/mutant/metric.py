"""A metric, and wrong ones."""

from __future__ import annotations

from typing import Any

from twinkle.testing import Example


class GoodMetric:
    """The mean negative log-probability."""

    def __init__(self) -> None:
        self.reset()

    def accumulate(self, inputs: Any, outputs: Any) -> None:
        counted = inputs["labels"] != -100
        self.total = self.total - outputs["logps"].masked_fill(~counted, 0.0).sum()
        self.count = self.count + counted.sum()

    def calculate(self) -> dict[str, Any]:
        return {} if isinstance(self.count, int) else {"nll": float(self.total / self.count)}

    def reset(self) -> None:
        self.total: Any = 0.0
        self.count: Any = 0


class NaNOfNothing(GoodMetric):
    def calculate(self) -> dict[str, Any]:
        return super().calculate() or {"nll": float("nan")}


class ResetsItself(GoodMetric):
    def calculate(self) -> dict[str, Any]:
        values = super().calculate()
        self.reset()
        return values


class KeepsItAll(GoodMetric):
    def __init__(self) -> None:
        super().reset()

    def reset(self) -> None:
        pass


class MeanOfMeans(GoodMetric):
    def accumulate(self, inputs: Any, outputs: Any) -> None:
        counted = inputs["labels"] != -100
        self.total = self.total - outputs["logps"].masked_fill(~counted, 0.0).sum() / counted.sum()
        self.count = self.count + counted.any()


class ReadsBack(GoodMetric):
    def accumulate(self, inputs: Any, outputs: Any) -> None:
        super().accumulate(inputs, outputs)
        self.last = self.total.item()


GOOD = (GoodMetric, Example())
MUTANTS = {
    "is_empty_at_first": (NaNOfNothing, Example()),
    "calculates_the_same_twice": (ResetsItself, Example()),
    "reset_forgets": (KeepsItAll, Example()),
    "micro_batches_add_up": (MeanOfMeans, Example()),
    "accumulates_on_the_device": (ReadsBack, Example()),
}
