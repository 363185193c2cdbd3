"""An optimizer, and wrong ones."""

from __future__ import annotations

from typing import Any

import torch

from twinkle.testing import Example


class GoodOptimizer(torch.optim.Optimizer):
    """Gradient descent."""

    sign = -1.0

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(self.direction(p), alpha=self.sign * group["lr"])

    def direction(self, p: Any) -> Any:
        return p.grad


class GoesUphill(GoodOptimizer):
    sign = 1.0


class DecaysAll(GoodOptimizer):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(0.99)


class KeepsItsMomentum(GoodOptimizer):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.momentum: dict[Any, Any] = {}

    def direction(self, p: Any) -> Any:
        self.momentum[p] = 0.5 * self.momentum.get(p, 0.0) + p.grad
        return self.momentum[p]


class KeepsAFunction(GoodOptimizer):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "hook": len}


GOOD = (GoodOptimizer, Example())
MUTANTS = {
    "goes_downhill": (GoesUphill, Example()),
    "leaves_what_has_no_gradient": (DecaysAll, Example()),
    "goes_on_from_its_state": (KeepsItsMomentum, Example()),
    "its_state_is_plain": (KeepsAFunction, Example()),
}
