"""What an optimizer keeps: it goes downhill, leaves what has no gradient, and goes on from its state to the bit."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from twinkle.testing.check import check, expect
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

_LR = 0.05


def _parameters() -> list[Parameter]:
    import torch

    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (5,))]


def _loss(parameters: list[Parameter]) -> Tensor:
    import torch

    return torch.stack([(0.5 * (index + 1) * p**2).sum() for index, p in enumerate(parameters)]).sum()


def _run(optimizer: Any, parameters: list[Parameter], num_steps: int) -> None:
    import torch

    for _ in range(num_steps):
        optimizer.zero_grad()
        torch.autograd.backward(_loss(parameters))
        optimizer.step()


def _new(component: Specimen) -> tuple[Any, list[Parameter]]:
    parameters = _parameters()
    return component.build(params=parameters, lr=_LR), parameters


@check("optimizer")
def goes_downhill(component: Specimen) -> None:
    """Twenty steps on a convex quadratic make its value smaller."""
    optimizer, parameters = _new(component)
    before = float(_loss(parameters).detach())
    _run(optimizer, parameters, 20)
    after = float(_loss(parameters).detach())
    expect(after < before, f"the loss went from {before:.6g} to {after:.6g}")


@check("optimizer")
def leaves_what_has_no_gradient(component: Specimen) -> None:
    """A parameter whose gradient is None keeps its value: frozen layers and adapters of others are such."""
    import torch

    optimizer, parameters = _new(component)
    frozen = parameters[1].detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(_loss(parameters[:1]))
        optimizer.step()
    expect(bool((parameters[1] == frozen).all()), "a parameter without gradient was changed")


@check("optimizer")
def goes_on_from_its_state(component: Specimen) -> None:
    """A new optimizer with the state of another one makes the same steps, to the bit: that is what resuming means."""
    import torch

    optimizer, parameters = _new(component)
    _run(optimizer, parameters, 3)
    state, saved = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in parameters]
    _run(optimizer, parameters, 3)
    resumed, others = _new(component)
    with torch.no_grad():
        for other, value in zip(others, saved, strict=True):
            other.copy_(value)
    resumed.load_state_dict(state)
    _run(resumed, others, 3)
    expect(all(torch.equal(p, o) for p, o in zip(parameters, others, strict=True)), "the steps after load_state_dict are others")


@check("optimizer")
def its_state_is_plain(component: Specimen) -> None:
    """state_dict() holds tensors, numbers, texts, None, lists and mappings of these: what safetensors and JSON can keep."""
    import torch

    optimizer, parameters = _new(component)
    _run(optimizer, parameters, 1)

    def strange(value: Any, where: str) -> list[str]:
        match value:
            case dict():
                return [found for key, inner in value.items() for found in strange(inner, f"{where}[{key!r}]")]
            case list() | tuple():
                return [found for index, inner in enumerate(value) for found in strange(inner, f"{where}[{index}]")]
            case torch.Tensor() | bool() | int() | float() | str() | None:
                return []
            case _:
                return [f"{where} is a {type(value).__name__}"]

    found = strange(optimizer.state_dict(), "state_dict()")
    expect(not found, "; ".join(found))


CHECKS = (goes_downhill, leaves_what_has_no_gradient, goes_on_from_its_state, its_state_is_plain)
