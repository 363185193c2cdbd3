"""What a learning-rate scheduler keeps: rates that are rates, and a state to go on from."""

from __future__ import annotations

import copy
import math
from typing import Any

from twinkle.testing.check import check, expect
from twinkle.testing.specimen import Specimen

_NUM_STEPS = 8


def _new(component: Specimen) -> tuple[Any, Any]:
    import torch

    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [p]} for p in parameters], lr=0.1)
    return component.build(optimizer=optimizer), optimizer


def _rates(scheduler: Any, optimizer: Any, num_steps: int) -> list[list[float]]:
    rates = []
    for _ in range(num_steps):
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


@check("lr_scheduler")
def rates_are_finite(component: Specimen) -> None:
    """Every learning rate is a finite number and not below 0."""
    rates = _rates(*_new(component), _NUM_STEPS)
    wrong = [rate for step in rates for rate in step if not math.isfinite(rate) or rate < 0]
    expect(not wrong, f"the learning rates {wrong}")


@check("lr_scheduler")
def rates_change(component: Specimen) -> None:
    """The example's schedule gives more than one learning rate: one that forgets to write it into the optimizer gives one."""
    rates = _rates(*_new(component), _NUM_STEPS)
    expect(len({rate for step in rates for rate in step}) > 1, f"the learning rate is {rates[0][0]} for {_NUM_STEPS} steps")


@check("lr_scheduler")
def goes_on_from_its_state(component: Specimen) -> None:
    """A new scheduler with the state of another one, on an optimizer with the state of its optimizer, gives the same rates."""
    scheduler, optimizer = _new(component)
    _rates(scheduler, optimizer, 3)
    state, optimizer_state = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
    expected = _rates(scheduler, optimizer, _NUM_STEPS - 3)
    resumed, other = _new(component)
    other.load_state_dict(optimizer_state)
    resumed.load_state_dict(state)
    found = _rates(resumed, other, _NUM_STEPS - 3)
    expect(found == expected, f"after load_state_dict the rates are {found} instead of {expected}")


@check("lr_scheduler")
def leaves_the_parameters(component: Specimen) -> None:
    """Construction and steps change learning rates (and momentum), never a parameter or a gradient."""
    scheduler, optimizer = _new(component)
    _rates(scheduler, optimizer, 3)
    changed = [p for group in optimizer.param_groups for p in group["params"] if not bool((p == 1).all()) or p.grad is not None]
    expect(not changed, "a parameter or its gradient was changed")


CHECKS = (rates_are_finite, rates_change, goes_on_from_its_state, leaves_the_parameters)
