"""``parametrize_with_checks``: one test for each pair of a component and a check of its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from twinkle.core.errors import InvalidArgument
from twinkle.core.suggestion import did_you_mean
from twinkle.testing.check import EVERY_KIND, Check, Tier
from twinkle.testing.checks import checks_of
from twinkle.testing.example import Example
from twinkle.testing.fresh_process import FreshProcess
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(
    components: Iterable[Specimen],
    *,
    expected_failed_checks: Mapping[str, str] | None = None,
    examples: Mapping[str, Example] | None = None,
    tiers: Sequence[Tier] = ("cpu",),
    more_checks: Iterable[Check] = (),
) -> pytest.MarkDecorator:
    """Gives a test function its arguments ``component`` and ``check``, once for each check of each component.

    Args:
        components: what :func:`load_manifest` returns, or specimens of your own.
        expected_failed_checks: check id (``loss:permutation_invariance``, or ``<component's name>/<check id>`` for one component) -> the
            reason why it fails. One that passes all the same is a failure: take it out.
        examples: ``kind:name`` of a component -> how it is built and fed.
        tiers: which tiers to run: "cpu", "gpu", "dist".
        more_checks: checks of your own, for a kind of your own.

    Raises:
        InvalidArgument: an id in ``expected_failed_checks`` or ``examples`` that nothing has.
    """
    import pytest

    given, expected = dict(examples or {}), dict(expected_failed_checks or {})
    fresh = FreshProcess()
    specimens = [replace(s, example=given.get(s.id, s.example), fresh=fresh) for s in components]
    fresh.specimens = tuple(specimens)
    _refuse_unknown("examples", given, [s.id for s in specimens])
    further = tuple(more_checks)
    all_pairs = [(s, c) for s in specimens for c in (*checks_of(s.kind), *further) if c.kind in (EVERY_KIND, s.kind) and c.only(s)]
    _refuse_unknown("expected_failed_checks", expected, [name for pair in all_pairs for name in _names(*pair)])
    cases = []
    for specimen, check in all_pairs:
        if check.tier not in tiers:
            continue
        reasons = [expected[name] for name in _names(specimen, check) if name in expected]
        marks = [pytest.mark.xfail(reason=reasons[0], strict=True)] if reasons else []
        cases.append(pytest.param(specimen, check, id=f"{specimen.id}-{check.id}", marks=marks))
    return pytest.mark.parametrize(("component", "check"), cases)


def _names(specimen: Specimen, check: Check) -> tuple[str, str]:
    """How ``expected_failed_checks`` may name this pair, the exact name first."""
    return f"{specimen.name}/{check.id}", check.id


def _refuse_unknown(argument: str, given: Iterable[str], known: Iterable[str]) -> None:
    names = set(known)
    for name in given:
        if name not in names:
            raise InvalidArgument(f"{argument}: there is no {name!r} here.{did_you_mean(name, names)}")
