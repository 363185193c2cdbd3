"""A reward, and wrong ones."""

from __future__ import annotations

import itertools
from typing import Any

from twinkle.testing import RewardExample


class GoodReward:
    """1 where the last word is the ground truth."""

    def __call__(self, trajectories: Any, ground_truths: Any = None) -> list[Any]:
        return [self.score(row, index) for index, row in enumerate(trajectories)]

    def score(self, row: Any, index: int) -> Any:
        said = row["messages"][-1]["content"] if row["messages"] else ""
        return float(said.endswith(dict(row["user_data"])["ground_truth"]))


class Counts(GoodReward):
    def score(self, row: Any, index: int) -> Any:
        return int(super().score(row, index))


class FirstGetsMore(GoodReward):
    def score(self, row: Any, index: int) -> Any:
        return super().score(row, index) + 0.1 * (index == 0)


class DependsOnTheInstance(GoodReward):
    made = itertools.count()

    def __init__(self) -> None:
        self.number = next(self.made)

    def score(self, row: Any, index: int) -> Any:
        return super().score(row, index) + self.number


class Inverted(GoodReward):
    def score(self, row: Any, index: int) -> Any:
        return 1.0 - super().score(row, index)


class NeedsWords(GoodReward):
    def score(self, row: Any, index: int) -> Any:
        return float(row["messages"][-1]["content"].split()[-1] == dict(row["user_data"])["ground_truth"]) if row["messages"] else 0.0


class NeedsMessages(GoodReward):
    def score(self, row: Any, index: int) -> Any:
        return float(row["messages"][-1]["content"].endswith(dict(row["user_data"])["ground_truth"]))


class MarksTrajectories(GoodReward):
    def score(self, row: Any, index: int) -> Any:
        row["is_scored"] = True
        return super().score(row, index)


def gold(answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": f"It is {answer}"}]
    return {"messages": messages, "user_data": [("ground_truth", answer)]}


EXAMPLE = RewardExample(gold=[gold("72"), gold("-3")], no_op="I do not know.")
GOOD = (GoodReward, EXAMPLE)
MUTANTS = {
    "gives_one_float_each": (Counts, EXAMPLE),
    "scores_each_for_itself": (FirstGetsMore, EXAMPLE),
    "gives_the_same_again": (DependsOnTheInstance, EXAMPLE),
    "gold_beats_doing_nothing": (Inverted, EXAMPLE),
    "takes_odd_completions": (NeedsWords, EXAMPLE),
    "one_bad_sample_spoils_no_other": (NeedsMessages, EXAMPLE),
    "leaves_the_trajectories": (MarksTrajectories, EXAMPLE),
}
