"""What a reward keeps: one float for each trajectory, whatever a model may write."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinkle.testing.check import check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class RewardExample(Example):
    """For rewards."""

    gold: Sequence[Mapping[str, Any]]
    """Two trajectories or more that end with a right answer of the assistant, with the ``user_data`` that the reward reads."""
    no_op: str = ""
    """What an assistant says that does not try: it must score less than gold."""


def _gold(component: Specimen) -> Rows:
    return copy.deepcopy([dict(row) for row in component.example_of(RewardExample).gold])


def _saying(rows: Rows, text: str) -> Rows:
    """The trajectories with another last message."""
    changed = copy.deepcopy(rows)
    for row in changed:
        row["messages"][-1]["content"] = text
    return changed


def _mixed(component: Specimen) -> Rows:
    """Right answers and wrong ones in turn."""
    gold = _gold(component)
    wrong = _saying(gold, component.example_of(RewardExample).no_op)
    return [row for pair in zip(gold, wrong, strict=True) for row in pair]


def _scores(reward: Any, rows: Rows) -> list[float]:
    scores = reward(rows)
    expect(isinstance(scores, list) and len(scores) == len(rows), f"expected a list of {len(rows)} floats, got {scores!r}")
    expect(all(isinstance(score, int | float) for score in scores), f"expected floats, got {scores!r}")
    return [float(score) for score in scores]


@check("reward")
def gives_one_float_each(component: Specimen) -> None:
    """The result is a list of floats as long as the input; an empty batch gives an empty list."""
    reward = component.build()
    scores = reward(_mixed(component))
    _scores(reward, _mixed(component))
    expect(all(isinstance(score, float) and math.isfinite(score) for score in scores), f"expected finite floats, got {scores!r}")
    expect(reward([]) == [], "an empty batch does not give an empty list")


@check("reward")
def scores_each_for_itself(component: Specimen) -> None:
    """The score of a trajectory does not depend on which others are in the batch, or on their order."""
    reward, rows = component.build(), _mixed(component)
    together, reversed_ = _scores(reward, rows), _scores(reward, rows[::-1])[::-1]
    expect(together == reversed_, f"in reverse order the scores are {reversed_} instead of {together}")
    alone = [_scores(reward, [row])[0] for row in rows]
    expect(together == alone, f"each alone the scores are {alone} instead of {together}")


@check("reward")
def gives_the_same_again(component: Specimen) -> None:
    """The same trajectories get the same scores from it again, and from a new instance."""
    reward, rows = component.build(), _mixed(component)
    first = _scores(reward, copy.deepcopy(rows))
    again, new = _scores(reward, copy.deepcopy(rows)), _scores(component.build(), copy.deepcopy(rows))
    expect(first == again == new, f"the scores are {first}, then {again}, and {new} from a new instance")


@check("reward")
def gold_beats_doing_nothing(component: Specimen) -> None:
    """Every right answer of the example scores more than an assistant that does not try: else training optimises something else."""
    reward, gold = component.build(), _gold(component)
    right, nothing = _scores(reward, gold), _scores(reward, _saying(gold, component.example_of(RewardExample).no_op))
    lost = [index for index, (a, b) in enumerate(zip(right, nothing, strict=True)) if a <= b]
    expect(not lost, f"answer {lost[0] if lost else ''}: the right one scores {right}, doing nothing {nothing}")


@check("reward", timeout_s=20)
def takes_odd_completions(component: Specimen) -> None:
    """Empty, huge, repetitive, binary-looking and non-Latin completions get finite scores, and quickly: models write all of these.

    A regular expression that backtracks fails here by its time."""
    reward, gold = component.build(), _gold(component)[:1]
    for text in ("", " ", "a" * 200_000, "(" * 2_000, "<think>" * 500, "你好 🙂 ١٢٣", "\x00\ud83d", "\\boxed{" * 200, "1" * 5_000, "####"):
        scores = _scores(reward, _saying(gold, text))
        expect(math.isfinite(scores[0]), f"the completion {text[:20]!r} scores {scores[0]}")


@check("reward")
def one_bad_sample_spoils_no_other(component: Specimen) -> None:
    """A trajectory without messages among good ones raises nothing and leaves their scores: one row must not end a run."""
    reward, rows = component.build(), _mixed(component)
    expected = _scores(reward, copy.deepcopy(rows))
    scores = _scores(reward, [*copy.deepcopy(rows), {**copy.deepcopy(rows[0]), "messages": []}])
    expect(scores[:-1] == expected, f"beside a bad sample the scores are {scores[:-1]} instead of {expected}")


@check("reward")
def leaves_the_trajectories(component: Specimen) -> None:
    """The trajectories that come in stay as they are: other rewards read them too."""
    rows = _mixed(component)
    before = copy.deepcopy(rows)
    component.build()(rows)
    expect(rows == before, "a trajectory is another one afterwards")


CHECKS = (
    gives_one_float_each,
    scores_each_for_itself,
    gives_the_same_again,
    gold_beats_doing_nothing,
    takes_odd_completions,
    one_bad_sample_spoils_no_other,
    leaves_the_trajectories,
)
