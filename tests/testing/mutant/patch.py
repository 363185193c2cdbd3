"""A patch, and wrong ones."""

from __future__ import annotations

import itertools
from typing import Any

from twinkle.core.contracts.patch import Journal
from twinkle.testing import PatchExample


class Layer:
    """What is patched."""

    def __init__(self) -> None:
        self.scale = "one"

    def forward(self) -> str:
        return self.scale


def other_forward(self: Layer) -> str:
    return self.scale * 2


class GoodPatch:
    """Another forward, and another scale."""

    def __init__(self, hook: object = None) -> None:
        self.hook = hook

    def apply(self, target: Any, journal: Journal) -> None:
        journal.setattr(type(target), "forward", other_forward)
        journal.setattr(target, "scale", "two")


class WritesWhatIsThere(GoodPatch):
    def apply(self, target: Any, journal: Journal) -> None:
        journal.setattr(target, "scale", target.scale)


class WritesByItself(GoodPatch):
    def apply(self, target: Any, journal: Journal) -> None:
        target.more = "more"
        super().apply(target, journal)


class GoesOnHalfApplied(GoodPatch):
    def apply(self, target: Any, journal: Journal) -> None:
        try:
            super().apply(target, journal)
        except Exception:  # noqa: BLE001  # the mutation
            return


class HidesItsChanges(GoodPatch):
    def apply(self, target: Any, journal: Journal) -> None:
        before, target.scale = target.scale, "two"
        journal.callback(lambda: setattr(target, "scale", before))


OTHER_EACH_TIME = itertools.count()
EXAMPLE = PatchExample(target=Layer)
GOOD = (GoodPatch, EXAMPLE)
MUTANTS = {
    "changes_something": (WritesWhatIsThere, EXAMPLE),
    "reverts_to_the_very_objects": (WritesByItself, EXAMPLE),
    "applies_whole_or_not_at_all": (GoesOnHalfApplied, EXAMPLE),
    "applied_twice_is_applied_once": (GoodPatch, PatchExample(target=Layer, init=lambda: {"hook": next(OTHER_EACH_TIME)})),
    "reverts_in_the_reverse_order_only": (HidesItsChanges, EXAMPLE),
    "refuses_other_versions": (GoodPatch, PatchExample(target=Layer, versions={"pluggy": "1.5"})),
}
