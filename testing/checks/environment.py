"""What an environment keeps: episodes that begin with messages, go on by turns, and know nothing of each other."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinkle.testing.check import check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen


@dataclass(frozen=True, kw_only=True)
class EnvironmentExample(Example):
    """For environments: an episode."""

    row: Mapping[str, Any]
    """What reset() gets."""
    actions: Sequence[str]
    """What the agent says, turn by turn; the last one ends the episode."""


def _play(environment: Any, example: EnvironmentExample) -> list[Any]:
    """The first messages, then what follows on each action."""
    seen: list[Any] = [environment.reset(copy.deepcopy(dict(example.row)))]
    seen += [environment.step({"role": "assistant", "content": action}) for action in example.actions]
    return seen


def _messages(value: Any, where: str) -> None:
    is_list = isinstance(value, list) and all(isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in value)
    expect(is_list, f"{where} gives {value!r}, not a list of messages")


@check("environment")
def gives_messages_and_rewards(component: Specimen) -> None:
    """reset() gives messages, step() gives (messages, a finite reward, whether it is over), and the example's last action ends it."""
    first, *turns = _play(component.build(), component.example_of(EnvironmentExample))
    _messages(first, "reset()")
    for index, turn in enumerate(turns):
        expect(isinstance(turn, tuple) and len(turn) == 3, f"turn {index} gives {turn!r}")
        messages, reward, is_over = turn
        _messages(messages, f"turn {index}")
        expect(isinstance(reward, float) and math.isfinite(reward), f"turn {index} gives the reward {reward!r}")
        expect(is_over is (index == len(turns) - 1), f"turn {index} of {len(turns)} says is_over={is_over!r}")


@check("environment")
def begins_anew(component: Specimen) -> None:
    """reset() forgets the episode before: the same actions give the same turns again."""
    environment, example = component.build(), component.example_of(EnvironmentExample)
    first = copy.deepcopy(_play(environment, example))
    again = _play(environment, example)
    expect(first == again, f"after reset() the same actions give {again} instead of {first}")


@check("environment")
def instances_are_apart(component: Specimen) -> None:
    """Two instances play two episodes side by side, turn by turn, as if each were alone."""
    example = component.example_of(EnvironmentExample)
    alone = copy.deepcopy(_play(component.build(), example))
    pair = [component.build(), component.build()]
    seen = [[one.reset(copy.deepcopy(dict(example.row)))] for one in pair]
    for action in example.actions:
        for one, turns in zip(pair, seen, strict=True):
            turns.append(one.step({"role": "assistant", "content": action}))
    expect(seen == [alone, alone], "side by side with another one an episode goes otherwise than alone")


CHECKS = (gives_messages_and_rewards, begins_anew, instances_are_apart)
