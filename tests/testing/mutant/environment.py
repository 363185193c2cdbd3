"""An environment, and wrong ones."""

from __future__ import annotations

from typing import Any

from twinkle.testing import EnvironmentExample


class GoodEnvironment:
    """Guess a number; every wrong guess costs."""

    nothing: Any = 0.0

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"guesses": 0}

    def reset(self, row: Any) -> Any:
        self.state.update(number=row["number"], guesses=0)
        return [{"role": "user", "content": "Guess."}]

    def step(self, action: Any) -> Any:
        self.state["guesses"] += 1
        is_over = action["content"] == self.state["number"]
        reward = 1.0 / self.state["guesses"] if is_over else self.nothing
        return [] if is_over else [{"role": "user", "content": f"Wrong, guess {self.state['guesses']}."}], reward, is_over


class WholeNumbers(GoodEnvironment):
    nothing = 0


class GoesOnCounting(GoodEnvironment):
    def reset(self, row: Any) -> Any:
        self.state["number"] = row["number"]
        return [{"role": "user", "content": "Guess."}]


class SharesItsState(GoodEnvironment):
    shared: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.state = self.shared


EXAMPLE = EnvironmentExample(row={"number": "7"}, actions=["3", "7"])
GOOD = (GoodEnvironment, EXAMPLE)
MUTANTS = {
    "gives_messages_and_rewards": (WholeNumbers, EXAMPLE),
    "begins_anew": (GoesOnCounting, EXAMPLE),
    "instances_are_apart": (SharesItsState, EXAMPLE),
}
