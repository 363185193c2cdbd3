"""An advantage, and wrong ones."""

from __future__ import annotations

from typing import Any

import torch

from twinkle.testing import AdvantageExample


class GoodAdvantage:
    """Reward minus mean."""

    def __call__(self, rewards_PG: Any) -> Any:
        return rewards_PG - rewards_PG.mean(dim=1, keepdim=True)


class AlwaysFloat32(GoodAdvantage):
    def __call__(self, rewards_PG: Any) -> Any:
        return super().__call__(rewards_PG).float()


class MinusTheBest(GoodAdvantage):
    def __call__(self, rewards_PG: Any) -> Any:
        return rewards_PG - rewards_PG.amax(dim=1, keepdim=True)


class DividesByZero(GoodAdvantage):
    def __call__(self, rewards_PG: Any) -> Any:
        if rewards_PG.shape[1] == 1:
            return torch.zeros_like(rewards_PG)
        return super().__call__(rewards_PG) / rewards_PG.std(dim=1, keepdim=True)


class OfTheNeighbour(GoodAdvantage):
    def __call__(self, rewards_PG: Any) -> Any:
        return super().__call__(rewards_PG).roll(1, dims=1)


class DeviationOfOne(GoodAdvantage):
    def __call__(self, rewards_PG: Any) -> Any:
        return super().__call__(rewards_PG) / (rewards_PG.std(dim=1, keepdim=True) + 1e-8)


class InPlace(GoodAdvantage):
    def __call__(self, rewards_PG: Any) -> Any:
        return rewards_PG.sub_(rewards_PG.mean(dim=1, keepdim=True))


GOOD = (GoodAdvantage, AdvantageExample())
MUTANTS = {
    "keeps_shape_and_dtype": (AlwaysFloat32, AdvantageExample()),
    "is_zero_on_average": (MinusTheBest, AdvantageExample()),
    "equal_rewards_give_zero": (DividesByZero, AdvantageExample()),
    "follows_its_samples": (OfTheNeighbour, AdvantageExample()),
    "takes_groups_of_one": (DeviationOfOne, AdvantageExample()),
    "is_scale_invariant": (GoodAdvantage, AdvantageExample(is_scale_invariant=True)),
    "leaves_the_rewards": (InPlace, AdvantageExample()),
}
