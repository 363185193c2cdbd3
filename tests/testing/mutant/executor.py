"""Wrong executors."""

from __future__ import annotations

from typing import Any

from twinkle.plugins_builtin.executor._local import LocalExecutor
from twinkle.testing import Example


class LeavesTheLayout(LocalExecutor):
    def start(self, layout: Any) -> Any:
        return layout


class DropsKeywords:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def add(self, number: int, **ignored: Any) -> Any:
        return self.inner.add(number)

    def fail(self) -> None:
        self.inner.fail()


class LosesKeywords(LocalExecutor):
    def construct(self, placement: Any, layout: Any) -> Any:
        return DropsKeywords(super().construct(placement, layout))


class SharesInstances(LocalExecutor):
    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, Any] = {}

    def construct(self, placement: Any, layout: Any) -> Any:
        key = repr(placement.arguments)
        if key not in self.made:
            self.made[key] = super().construct(placement, layout)
        return self.made[key]


class Silent:
    def __init__(self, inner: Any) -> None:
        self.add = inner.add

    def fail(self) -> None:
        return None


class SwallowsErrors(LocalExecutor):
    def construct(self, placement: Any, layout: Any) -> Any:
        return Silent(super().construct(placement, layout))


GOOD = (LocalExecutor, Example())
MUTANTS = {
    "completes_the_layout": (LeavesTheLayout, Example()),
    "calls_as_if_local": (LosesKeywords, Example()),
    "keeps_instances_apart": (SharesInstances, Example()),
    "raises_what_a_method_raises": (SwallowsErrors, Example()),
}
