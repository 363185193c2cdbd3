"""Our two schedules against those of transformers, step by step."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from twinkle import build, resolve
from twinkle.plugins_builtin.lr_scheduler import COMPONENTS

SHAPES = [(0, 10), (3, 10), (10, 10), (12, 10), (1, 1), (0, 0), (4, 5)]


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.3)], lr=1.0)


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, num_steps: int) -> list[list[float]]:
    """The rate of each group at each step, beginning before the first."""
    seen = []
    for _ in range(num_steps):
        seen.append([g["lr"] for g in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(("warmup", "total"), SHAPES)
def test_linear_warmup_is_that_of_transformers(warmup: int, total: int) -> None:
    """Also past its end, and with a warm-up longer than the run, which is legal."""
    ours = build("lr_scheduler", "LinearWarmupScheduler", optimizer=optimizer(), num_warmup_steps=warmup, num_training_steps=total)
    theirs = get_linear_schedule_with_warmup(optimizer(), warmup, total)
    assert rates(ours, 16) == rates(theirs, 16)


@pytest.mark.parametrize("num_cycles", [0.5, 1.5])
@pytest.mark.parametrize(("warmup", "total"), SHAPES)
def test_cosine_warmup_is_that_of_transformers(warmup: int, total: int, num_cycles: float) -> None:
    ours = build(
        "lr_scheduler", "cosine_warmup", optimizer=optimizer(), num_warmup_steps=warmup, num_training_steps=total, num_cycles=num_cycles
    )
    theirs = get_cosine_schedule_with_warmup(optimizer(), warmup, total, num_cycles)
    assert rates(ours, 16) == rates(theirs, 16)


def test_a_cosine_by_hand() -> None:
    """Two steps up, then half a cosine over four; transformers shares our formula, this does not. Mutants: warm-up off by one, sine."""
    ours = build("lr_scheduler", "CosineWarmupScheduler", optimizer=optimizer(), num_warmup_steps=2, num_training_steps=6)
    expected = [0.0, 0.5, 1.0, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2, 0.0]
    assert [group[0] for group in rates(ours, 7)] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_every_registered_schedule_is_a_schedule(name: str) -> None:
    assert issubclass(resolve("lr_scheduler", name).cls, torch.optim.lr_scheduler.LRScheduler)
