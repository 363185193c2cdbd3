"""How components meet their checks: names, expectations, examples, time limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twinkle.core.errors import InvalidArgument, InvalidConfig
from twinkle.hub_loader.errors import InvalidManifest
from twinkle.testing import (
    CheckFailed,
    Example,
    NotApplicable,
    RowExample,
    Specimen,
    checks_of,
    load_manifest,
    parametrize_with_checks,
)
from twinkle.testing.check import check, expect

FILTER = {"impl.py": 'class Keep:\n    """Keeps all."""\n    def __call__(self, row):\n        return True\n'}


def pairs(mark: pytest.MarkDecorator) -> dict[str, Any]:
    """Id -> parameter set."""
    return {str(case.id): case for case in mark.args[1]}


def keep(name: str = "keep", example: Example | None = None) -> Specimen:
    return Specimen(kind="filter", name=name, component=lambda row: True, example=example)


def test_a_manifest_gives_its_components_without_an_import(component_repo: Callable[..., Path]) -> None:
    folder = component_repo({"impl.py": "raise RuntimeError('imported')"}, "filter keep impl:Keep", "loss other impl:Other")
    specimens = load_manifest(folder / "twinkle-component.toml")
    assert [s.id for s in specimens] == ["filter:keep", "loss:other"]
    assert {s.folder for s in specimens} == {folder}


def test_a_manifest_keeps_the_rules_of_the_loader(component_repo: Callable[..., Path]) -> None:
    folder = component_repo(FILTER, "filter keep impl:Keep")
    text = (folder / "twinkle-component.toml").read_text()
    (folder / "twinkle-component.toml").write_text(text.replace("impl:Keep", "os.path:join"))
    with pytest.raises(InvalidManifest, match="os/path"):
        load_manifest(folder / "twinkle-component.toml")
    with pytest.raises(InvalidConfig, match="no such manifest"):
        load_manifest(folder / "missing.toml")


def test_a_kind_gets_its_own_checks_and_those_of_every_kind() -> None:
    kinds = {one.kind for one in checks_of("filter")}
    assert kinds == {"all", "filter"}
    assert {one.kind for one in checks_of("a_new_kind")} == {"all"}


def test_a_plugin_brings_checks_of_its_own_kind() -> None:
    @check("tracker")
    def is_told(component: Specimen) -> None:
        """It is told."""

    both = [Specimen(kind="tracker", name="mine", component="jsonl"), keep()]
    names = [name for name in pairs(parametrize_with_checks(both, more_checks=[is_told])) if "is_told" in name]
    assert names == ["tracker:mine-tracker:is_told"]


def test_tiers_choose_checks() -> None:
    metric = Specimen(kind="metric", name="m", component="loss")
    cpu = pairs(parametrize_with_checks([metric]))
    dist = pairs(parametrize_with_checks([metric], tiers=("dist",)))
    assert set(dist) == {"metric:m-metric:ranks_add_up"} and not set(dist) & set(cpu)


def test_an_expected_failure_is_strict_and_may_name_one_component() -> None:
    both = [keep("a"), keep("b")]
    cases = pairs(parametrize_with_checks(both, expected_failed_checks={"a/filter:leaves_the_row": "why", "filter:says_yes_or_no": "all"}))
    reasons = {name: [m.kwargs for m in case.marks] for name, case in cases.items() if case.marks}
    strict = {"strict": True}
    assert reasons == {
        "filter:a-filter:leaves_the_row": [{"reason": "why", **strict}],
        "filter:a-filter:says_yes_or_no": [{"reason": "all", **strict}],
        "filter:b-filter:says_yes_or_no": [{"reason": "all", **strict}],
    }


def test_names_that_nothing_has_are_errors() -> None:
    with pytest.raises(InvalidArgument, match="Did you mean 'filter:leaves_the_row'"):
        parametrize_with_checks([keep()], expected_failed_checks={"filter:leaves_the_rows": "typo"})
    with pytest.raises(InvalidArgument, match="Did you mean 'filter:keep'"):
        parametrize_with_checks([keep()], examples={"filter:kep": RowExample(rows=[])})


def test_without_the_example_that_it_needs_a_check_fails() -> None:
    says = next(one for one in checks_of("filter") if one.id == "filter:says_yes_or_no")
    with pytest.raises(CheckFailed, match=r"pass examples=\{'filter:keep': RowExample\(\.\.\.\)\}"):
        says(keep())


def test_a_check_that_hangs_fails_at_its_time_limit() -> None:
    @check("filter", timeout_s=0.05)
    def hangs(component: Specimen) -> None:
        """It ends."""
        time.sleep(0.5)

    with pytest.raises(CheckFailed, match=r"no end after 0\.05 seconds\n\nIt ends\."):
        hangs(keep())


def test_a_failure_names_component_check_cause_and_reason() -> None:
    @check("filter")
    def is_right(component: Specimen) -> None:
        """It has to be right."""
        raise KeyError("column")

    with pytest.raises(CheckFailed, match=r"filter:keep fails filter:is_right: KeyError: 'column'\n\nIt has to be right\.") as caught:
        is_right(keep())
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_check_that_does_not_apply_is_a_skip() -> None:
    @check("filter")
    def of_another_world(component: Specimen) -> None:
        """Nothing."""
        raise NotApplicable("not here")

    with pytest.raises(NotApplicable):
        of_another_world(keep())


def test_expect_raises_its_text() -> None:
    expect(True, "never")
    with pytest.raises(CheckFailed, match=r"^text$"):
        expect([], "text")
