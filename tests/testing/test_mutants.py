"""The test of the tests: for every check of the kit a component that is wrong in one way, and that this check alone sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from twinkle.testing import Check, CheckFailed, NotApplicable, Specimen, all_checks, checks_of
from twinkle.testing.fresh_process import FreshProcess

from .mutant import (
    advantage,
    checkpoint_engine,
    dataloader,
    dataset,
    environment,
    every_kind,
    executor,
    filter,
    hub,
    kernel,
    loss,
    lr_scheduler,
    metric,
    model,
    optimizer,
    patch,
    preprocessor,
    processor,
    reward,
    sampler,
    template,
)

FILES: dict[str, ModuleType] = {
    "advantage": advantage,
    "all": every_kind,
    "checkpoint_engine": checkpoint_engine,
    "dataloader": dataloader,
    "dataset": dataset,
    "environment": environment,
    "executor": executor,
    "filter": filter,
    "hub": hub,
    "kernel": kernel,
    "loss": loss,
    "lr_scheduler": lr_scheduler,
    "metric": metric,
    "model": model,
    "optimizer": optimizer,
    "patch": patch,
    "preprocessor": preprocessor,
    "processor": processor,
    "reward": reward,
    "sampler": sampler,
    "template": template,
}
MUTANTS = {f"{kind}:{name}": mutant for kind, file in FILES.items() for name, mutant in file.MUTANTS.items()}
ELSEWHERE = {f"all:{name}" for name in every_kind.WATCHED} | {"all:lives_under_two_digests", "metric:ranks_add_up"}
"""Shown by the tests at the end of this file, which start other Pythons or write repositories."""
HAS_GPU = torch.cuda.is_available()


def specimen(check_id: str, mutant: tuple[Any, Any]) -> Specimen:
    kind, _, name = check_id.partition(":")
    component, example = mutant
    params = every_kind.PARAMS.get(name, {}) if kind == "all" else {}
    return Specimen(kind="processor" if kind == "all" else kind, name="mutant", component=component, example=example, params=params)


def failed_checks(component: Specimen, checks: Callable[[Check], bool]) -> dict[str, str]:
    """The checks of its kind that ``component`` does not pass, with what they say."""
    failed = {}
    for check in checks_of(component.kind):
        if not checks(check) or not check.only(component) or check.tier == "dist" or (check.tier == "gpu" and not HAS_GPU):
            continue
        try:
            check(component)
        except CheckFailed as error:
            failed[check.id] = str(error)
        except NotApplicable:
            continue
    return failed


def is_own(check: Check) -> bool:
    return check.kind != "all"


def is_any(check: Check) -> bool:
    return True


def test_every_check_has_its_mutant() -> None:
    assert {check.id for check in all_checks()} == MUTANTS.keys() | ELSEWHERE
    assert not MUTANTS.keys() & ELSEWHERE


def test_ids_are_unique() -> None:
    ids = [check.id for check in all_checks()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", FILES)
def test_the_component_that_is_not_mutated_passes(kind: str) -> None:
    assert not failed_checks(specimen(f"{kind}:none", FILES[kind].GOOD), is_own if kind != "all" else is_any)


def test_a_mean_over_a_number_of_its_own_passes() -> None:
    """It does not depend on the split. Mutant: turned back into a sum with the number of all tokens that have a label."""
    assert not failed_checks(specimen("loss:none", (loss.MeanOfSome, loss.Example())), is_own)


@pytest.mark.parametrize("check_id", MUTANTS)
def test_one_check_alone_sees_the_mutant(check_id: str) -> None:
    if check_id.endswith("_on_the_accelerator") and not HAS_GPU:
        pytest.skip("needs a CUDA device")
    failed = failed_checks(specimen(check_id, MUTANTS[check_id]), is_any if check_id.startswith("all:") else is_own)
    assert failed.keys() == {check_id}, "\n\n".join(failed.values())
    doc = next(check.doc for check in all_checks() if check.id == check_id)
    assert doc in failed[check_id], "a failure shows what the check is for"


@pytest.mark.slow
def test_one_check_alone_sees_what_an_import_does(component_repo: Callable[..., Path]) -> None:
    """One other Python for all of them: each import runs there, never here."""
    body = "\nclass Keep:\n    def __call__(self, row):\n        return True\n"
    sources = {**every_kind.WATCHED, "none": ""}
    fresh = FreshProcess()
    for name, head in sources.items():
        folder = component_repo({"impl.py": head + body}, "filter keep impl:Keep", name=name)
        one = Specimen(kind="filter", name=name, component=f"file:{folder}#keep", folder=folder, fresh=fresh)
        fresh.specimens = (*fresh.specimens, one)
    for one in fresh.specimens:
        failed = failed_checks(one, lambda check: check.id.startswith("all:import_"))
        assert failed.keys() == ({f"all:{one.name}"} if one.name != "none" else set()), "\n\n".join(failed.values())


def test_one_check_alone_sees_a_component_that_cannot_be_there_twice(component_repo: Callable[..., Path]) -> None:
    body = '\nclass Keep:\n    """Keeps all."""\n    def __call__(self, row):\n        return True\n'
    for head, expected in (("", set[str]()), (every_kind.ALONE, {"all:lives_under_two_digests"})):
        folder = component_repo({"impl.py": head + body}, "filter keep impl:Keep", name="alone" if head else "beside")
        one = Specimen(kind="filter", name="keep", component=f"file:{folder}#keep", folder=folder)
        failed = failed_checks(one, lambda check: check.kind == "all")
        assert failed.keys() == expected, "\n\n".join(failed.values())


@pytest.mark.slow
def test_one_check_alone_sees_a_metric_that_knows_one_rank(component_repo: Callable[..., Path]) -> None:
    folder = component_repo({"impl.py": every_kind.LOCAL_METRIC}, "metric local impl:LocalMetric")
    one = Specimen(kind="metric", name="local", component=f"file:{folder}#local", folder=folder)
    assert not failed_checks(one, is_own)
    ranks = next(check for check in checks_of("metric") if check.tier == "dist")
    with pytest.raises(CheckFailed, match="rank 0 of 2: tokens is"):
        ranks(one)
