"""What a check is: a function of one component that raises, with an id, a tier, a time limit and the sentence that a failure shows."""

from __future__ import annotations

import contextvars
import inspect
import threading
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from twinkle.testing.specimen import Specimen

Tier = Literal["cpu", "gpu", "dist"]
"""What a check needs: a CPU, an accelerator, or several processes."""

EVERY_KIND = "all"


class CheckFailed(AssertionError):
    """A component does not keep what a check asks for."""


class NotApplicable(unittest.SkipTest):
    """The check says nothing about this component; pytest and unittest show the reason as a skip."""


def expect(claim: object, otherwise: str) -> None:
    """Raises :class:`CheckFailed` with the text ``otherwise`` unless ``claim`` is true."""
    if not claim:
        raise CheckFailed(otherwise)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check. Calling it with a component runs it."""

    id: str
    """``loss:permutation_invariance``; ``all:...`` for those of every kind."""
    tier: Tier
    timeout_s: float
    doc: str
    """What the component has to keep, and why it matters: shown when it does not."""
    function: Callable[[Specimen], None]
    only: Callable[[Specimen], bool]
    """Whether it has anything to say about a component, as far as that shows without importing it."""

    @property
    def kind(self) -> str:
        """Of which kind of component it is; "all" for every kind."""
        return self.id.partition(":")[0]

    def __call__(self, component: Specimen) -> None:
        """Runs the check.

        Raises:
            CheckFailed: the component does not keep it, raised an exception, or took longer than the time limit.
            NotApplicable: the check says nothing about this component.
        """
        raised: list[BaseException] = []

        def run() -> None:
            try:
                self.function(component)
            except BaseException as error:  # noqa: BLE001  # carried over to the caller's thread, where it is raised again
                raised.append(error)

        # A thread of its own: the one way to give up on a component that hangs which works on every system and beside other alarms.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name=self.id, daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        if thread.is_alive():
            raise CheckFailed(self._message(component, f"no end after {self.timeout_s:g} seconds"))
        if not raised:
            return
        error = raised[0]
        if isinstance(error, CheckFailed):
            raise CheckFailed(self._message(component, str(error))) from error.__cause__
        if isinstance(error, NotApplicable) or not isinstance(error, Exception):
            raise error
        raise CheckFailed(self._message(component, f"{type(error).__name__}: {error}")) from error

    def _message(self, component: Specimen, what: str) -> str:
        return f"{component.id} fails {self.id}: {what}\n\n{self.doc}"


def _any(component: Specimen) -> bool:
    return True


def check(
    kind: str, *, tier: Tier = "cpu", timeout_s: float = 120, only: Callable[[Specimen], bool] = _any
) -> Callable[[Callable[[Specimen], None]], Check]:
    """Makes a function of a component into the check ``<kind>:<its name>``; its docstring is what a failure shows."""

    def make(function: Callable[[Specimen], None]) -> Check:
        doc = inspect.getdoc(function) or ""
        return Check(id=f"{kind}:{function.__name__}", tier=tier, timeout_s=timeout_s, doc=doc, function=function, only=only)

    return make
