"""Patches: applied whole or not at all, reverted to the very objects, refused where the state is not theirs."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from twinkle.core.applicability import Applicability, Applies, NotNeeded, PatchEnvironment, Refuse, source_digest
from twinkle.core.contracts.patch import Journal
from twinkle.core.errors import InvalidArgument, PatchConflict, PatchRefused, UnknownComponent
from twinkle.core.patch_journal import ABSENT, AttributePlace, RecordedJournal
from twinkle.core.patching import apply_patch, patched


class Base:
    def inherited(self) -> str:
        return "base"


class Target(Base):
    @staticmethod
    def static() -> str:
        return "static"

    @property
    def prop(self) -> str:
        return "prop"

    def method(self) -> str:
        return "method"


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1


@dataclass(frozen=True)
class SetPatch:
    """Sets one attribute."""

    owner: Any
    name: str
    value: object = "new"

    def apply(self, target: Any, journal: Journal) -> None:
        journal.setattr(self.owner, self.name, self.value)


@pytest.mark.parametrize("name", ["static", "prop", "method", "inherited", "brand_new"])
def test_revert_restores_the_raw_attribute_of_a_class(name: str) -> None:
    before = dict(vars(Target))
    handle = apply_patch(SetPatch(Target, name, lambda self: "new"), Target)
    assert vars(Target)[name] is not before.get(name)
    handle.revert()
    assert set(vars(Target)) == set(before)
    assert all(vars(Target)[key] is value for key, value in before.items() if key not in ("__dict__", "__weakref__"))
    assert not handle.is_applied


def test_revert_restores_instances_slots_modules_items_and_classes() -> None:
    instance, slotted, module, mapping = Target(), Slotted(), types.ModuleType("m"), {"a": (kept := object())}
    module.f = kept  # type: ignore[attr-defined]

    class Everything:
        def apply(self, target: Any, journal: Journal) -> None:
            journal.setattr(instance, "method", lambda: "mine")
            journal.setattr(instance, "__class__", Base)
            journal.setattr(slotted, "value", 2)
            journal.setattr(module, "f", 3)
            journal.setattr(module, "g", 4)
            journal.setitem(mapping, "a", 5)
            journal.setitem(mapping, "b", 6)

    with apply_patch(Everything(), instance):
        assert (type(instance), slotted.value, module.f, mapping) == (Base, 2, 3, {"a": 5, "b": 6})
    assert vars(instance) == {}
    assert type(instance) is Target
    assert slotted.value == 1
    assert module.f is kept
    assert "g" not in vars(module)
    assert mapping == {"a": kept}


@pytest.mark.parametrize("failing_step", range(4))
def test_failure_at_any_step_leaves_nothing(failing_step: int) -> None:
    holder = types.SimpleNamespace(x=1)
    undone: list[str] = []

    class Failing:
        def apply(self, target: Any, journal: Journal) -> None:
            steps: list[Callable[[], None]] = [
                lambda: journal.setattr(holder, "x", 2),
                lambda: journal.callback(lambda: undone.append("callback")),
                lambda: journal.setattr(holder, "y", 3),
            ]
            for index, step in enumerate(steps):
                if index == failing_step:
                    raise RuntimeError("injected")
                step()
            raise RuntimeError("injected")

    with pytest.raises(RuntimeError, match="injected"):
        apply_patch(Failing(), holder)
    assert vars(holder) == {"x": 1}
    assert undone == (["callback"] if failing_step > 1 else [])


def test_a_patch_on_top_has_to_go_first_and_is_named() -> None:
    first = apply_patch(SetPatch(Target, "method", 1), Target)
    second = apply_patch(SetPatch(Target, "method", 2), Target)
    other = apply_patch(SetPatch(Target, "elsewhere", 3), Target)
    with pytest.raises(PatchConflict, match=r"SetPatch patched .*Target\.method on top: revert it first"):
        first.revert()
    assert first.is_applied
    second.revert()
    first.revert()
    other.revert()
    assert callable(Target.method)


def test_a_change_behind_its_back_is_not_overwritten() -> None:
    holder = types.SimpleNamespace(x=1, y=1)

    class Two:
        def apply(self, target: Any, journal: Journal) -> None:
            journal.setattr(holder, "x", 2)
            journal.setattr(holder, "y", 2)

    handle = apply_patch(Two(), holder)
    holder.y = 99
    with pytest.raises(PatchConflict, match="was changed behind its back and is now 99"):
        handle.revert()
    assert (holder.x, holder.y) == (2, 99)
    holder.y = 2
    handle.revert()
    assert (holder.x, holder.y) == (1, 1)


def test_the_same_patch_twice_is_counted() -> None:
    holder = types.SimpleNamespace(calls=0)

    class Counting:
        def apply(self, target: Any, journal: Journal) -> None:
            journal.setattr(holder, "calls", holder.calls + 1)

    patch = Counting()
    first, second = apply_patch(patch, holder), apply_patch(patch, holder)
    assert first is second
    assert holder.calls == 1
    first.revert()
    assert holder.calls == 1
    second.revert()
    assert holder.calls == 0
    second.revert()  # one too many does nothing


def test_equal_patches_are_one_and_others_are_two() -> None:
    holder = types.SimpleNamespace()
    assert apply_patch(SetPatch(holder, "x", "a"), holder) is apply_patch(SetPatch(holder, "x", "a"), holder)
    assert apply_patch(SetPatch(holder, "x", "b"), holder).num_uses == 1


class Judging:
    def __init__(self, verdict: str) -> None:
        self.verdict = verdict

    def applies(self, environment: PatchEnvironment) -> Applicability:
        match self.verdict:
            case "in_range":
                return environment.in_range({"pluggy": ">=1"})
            case "out_of_range":
                return environment.in_range({"pluggy": ">=999"})
            case "missing":
                return environment.in_range({"no-such-distribution": ">=1"})
            case "drifted":
                return environment.unchanged({f"{__name__}:Base.inherited": "sha256:0"})
            case _:
                return NotNeeded("it is fixed upstream")

    def apply(self, target: Any, journal: Journal) -> None:
        journal.setattr(target, "applied", True)


def test_not_needed_gives_a_handle_that_does_nothing_and_says_why() -> None:
    holder = types.SimpleNamespace()
    handle = apply_patch(Judging("not_needed"), holder)
    assert (handle.reason, handle.is_applied, vars(holder)) == ("it is fixed upstream", False, {})
    handle.revert()


@pytest.mark.parametrize(
    ("verdict", "message"),
    [("out_of_range", r"pluggy >=999, installed is 1\."), ("missing", "which is not installed"), ("drifted", "changed upstream")],
)
def test_a_patch_for_other_versions_or_code_is_refused(verdict: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, types.SimpleNamespace(Base=Base))  # type: ignore[arg-type]
    holder = types.SimpleNamespace()
    with pytest.raises(PatchRefused, match=message):
        apply_patch(Judging(verdict), holder)
    assert vars(holder) == {}


def test_in_range_applies_and_the_source_digest_ignores_indentation() -> None:
    assert PatchEnvironment(None).in_range({"pluggy": ">=1,<99"}) == Applies()
    entry = "textwrap:TextWrapper.wrap"
    assert PatchEnvironment(None).unchanged({entry: source_digest(entry)}) == Applies()
    assert isinstance(PatchEnvironment(None).unchanged({entry: "sha256:0"}), Refuse)


def test_copies_made_by_import_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def function() -> None: ...

    one, two = types.ModuleType("patch_one"), types.ModuleType("patch_two")
    one.f = two.g = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "patch_one", one)
    monkeypatch.setitem(sys.modules, "patch_two", two)
    handle = apply_patch(SetPatch(one, "f", len), one)
    assert handle.limits == ("patch_two.g still is the patch_one.f from before: it was imported by name",)


class OldPatch:
    """The older form: sets attributes itself."""

    def __call__(self, module: Any, value: object = "old", fail: bool = False) -> None:
        module.method = value
        module.settings["mode"] = value
        Target.static = value  # type: ignore[method-assign, assignment]
        module.__class__ = Special
        if fail:
            raise RuntimeError("injected")


class Special(Target):
    pass


@pytest.mark.parametrize("form", ["class", "instance", "function"])
def test_the_older_form_runs_in_a_snapshot_guard(form: str) -> None:
    raw = vars(Target)["static"]
    target = Target()
    target.settings = settings = {}  # type: ignore[attr-defined]
    patch: Any = {"class": OldPatch, "instance": OldPatch(), "function": OldPatch().__call__.__func__.__get__(OldPatch())}[form]
    if form == "function":

        def patch(module: Any, **arguments: Any) -> None:
            OldPatch()(module, **arguments)

    with patched(target, patch, value="x"):
        assert (target.method, settings, Target.static, type(target)) == ("x", {"mode": "x"}, "x", Special)
    assert vars(target) == {"settings": settings}
    assert settings == {}
    assert vars(Target)["static"] is raw
    assert type(target) is Target


def test_the_older_form_that_fails_half_way_is_undone() -> None:
    target = Target()
    target.settings = {}  # type: ignore[attr-defined]
    raw = vars(Target)["static"]
    with pytest.raises(RuntimeError, match="injected"):
        apply_patch(OldPatch, target, fail=True)
    assert (target.settings, type(target), vars(Target)["static"]) == ({}, Target, raw)  # type: ignore[attr-defined]


def test_unknown_patch_and_bad_arguments_are_told() -> None:
    with pytest.raises(UnknownComponent, match="no_split_modules"):
        apply_patch("no_split_module", object())
    with pytest.raises(InvalidArgument, match="module_names"):
        apply_patch("no_split_modules", object(), module_name=["x"])
    with pytest.raises(InvalidArgument, match="expected a mapping, got a list"):
        RecordedJournal().setitem([1], 0, 2)


def test_patched_asks_a_model_that_knows_its_inner_module() -> None:
    class Model:
        def __init__(self) -> None:
            self.model = types.SimpleNamespace()

        def apply_patch(self, patch_cls: Any, **kwargs: Any) -> Any:
            return apply_patch(patch_cls, self.model, **kwargs)

    model = Model()
    with patched(model, Judging("in_range")):
        assert vars(model.model) == {"applied": True}
    assert vars(model.model) == {}


def test_a_place_that_is_inherited_reads_as_absent() -> None:
    assert AttributePlace(Target(), "method").read() is ABSENT
    assert AttributePlace(Target, "inherited").read() is ABSENT
