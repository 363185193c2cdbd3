"""What an advantage keeps: numbers relative to their group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twinkle.testing.check import NotApplicable, check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdvantageExample(Example):
    """For advantages: what it claims."""

    is_scale_invariant: bool = False
    """Whether rewards times ten give the same advantages."""


def _rewards_PG() -> Tensor:
    import torch

    return torch.tensor([[1.0, 2.0, 6.0, 3.5], [0.5, -1.0, 0.25, 0.0], [3.0, 3.5, -2.0, 9.0]], dtype=torch.float64)


def _close(found: Tensor, expected: Tensor, what: str, tolerance: float = 1e-6) -> None:
    import torch

    expect(torch.allclose(found, expected, rtol=tolerance, atol=tolerance), f"{what}: {found.tolist()} instead of {expected.tolist()}")


@check("advantage")
def keeps_shape_and_dtype(component: Specimen) -> None:
    """The advantages have the shape and the dtype of the rewards, and are finite."""
    import torch

    for dtype in (torch.float32, torch.float64):
        rewards = _rewards_PG().to(dtype)
        advantages = component.build()(rewards)
        expect(advantages.shape == rewards.shape, f"shape {tuple(advantages.shape)} instead of {tuple(rewards.shape)}")
        expect(advantages.dtype == dtype, f"{advantages.dtype} instead of {dtype}")
        expect(bool(torch.isfinite(advantages).all()), f"not finite: {advantages.tolist()}")


@check("advantage")
def is_zero_on_average(component: Specimen) -> None:
    """Each group's advantages have mean 0: a baseline that is not the mean says so in expected_failed_checks."""
    import torch

    means = component.build()(_rewards_PG()).mean(dim=1)
    _close(means, torch.zeros_like(means), "the means of the groups")


@check("advantage")
def equal_rewards_give_zero(component: Specimen) -> None:
    """A group whose rewards are all equal teaches nothing: its advantages are 0, not NaN and not noise divided by noise."""
    import torch

    rewards = torch.full((2, 4), 0.1, dtype=torch.float64)  # 0.1 has no exact mean
    advantages = component.build()(rewards)
    _close(advantages, torch.zeros_like(advantages), "equal rewards")


@check("advantage")
def follows_its_samples(component: Specimen) -> None:
    """The samples of a group in another order get the same advantages, in that order."""
    rewards, advantage = _rewards_PG(), component.build()
    order = [2, 0, 3, 1]
    _close(advantage(rewards[:, order]), advantage(rewards)[:, order], "the samples in another order")


@check("advantage")
def takes_groups_of_one(component: Specimen) -> None:
    """With one sample a prompt the advantages are finite, or it refuses with a ValueError that says how many it needs."""
    import torch

    try:
        advantages = component.build()(_rewards_PG()[:, :1])
    except ValueError as error:
        expect(any(character.isdigit() for character in str(error)), f"the error does not say how many samples it needs: {error}")
        return
    expect(bool(torch.isfinite(advantages).all()), f"not finite: {advantages.tolist()}")


@check("advantage")
def is_scale_invariant(component: Specimen) -> None:
    """Where the example claims it: rewards times ten give the same advantages."""
    if not component.example_of(AdvantageExample).is_scale_invariant:
        raise NotApplicable("the example does not claim it")
    rewards, advantage = _rewards_PG(), component.build()
    _close(advantage(rewards * 10), advantage(rewards), "rewards times ten", tolerance=1e-4)


@check("advantage")
def leaves_the_rewards(component: Specimen) -> None:
    """The rewards that come in stay as they are: they are logged afterwards."""
    rewards: Any = _rewards_PG()
    component.build()(rewards)
    expect(bool((rewards == _rewards_PG()).all()), "it changed the rewards in place")


CHECKS = (
    keeps_shape_and_dtype,
    is_zero_on_average,
    equal_rewards_give_zero,
    follows_its_samples,
    takes_groups_of_one,
    is_scale_invariant,
    leaves_the_rewards,
)
