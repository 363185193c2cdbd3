"""A learning-rate scheduler, and wrong ones."""

from __future__ import annotations

from typing import Any

import torch

from twinkle.testing import Example


class GoodScheduler(torch.optim.lr_scheduler.LambdaLR):
    """lr / (1 + s)."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        return 1 / (1 + step)


class BelowZero(GoodScheduler):
    def factor(self, step: int) -> float:
        return 1 - 0.3 * step


class Constant(GoodScheduler):
    def factor(self, step: int) -> float:
        return 1.0


class StartsAgain(GoodScheduler):
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


class Decays(GoodScheduler):
    @torch.no_grad()
    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.mul_(0.9)


GOOD = (GoodScheduler, Example())
MUTANTS = {
    "rates_are_finite": (BelowZero, Example()),
    "rates_change": (Constant, Example()),
    "goes_on_from_its_state": (StartsAgain, Example()),
    "leaves_the_parameters": (Decays, Example()),
}
