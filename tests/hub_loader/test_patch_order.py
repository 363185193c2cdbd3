"""``conflicts`` and ``after`` of a patch's manifest hold when patches are applied."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path

import pytest

from twinkle.core.errors import PatchConflict
from twinkle.core.patching import apply_patch
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.errors import InvalidManifest
from twinkle.hub_loader.manifest import parse_manifest
from twinkle.testing.loopback_hub import LoopbackHub

from .conftest import WriteFiles, manifest, trust

PATCH = """
class Patch:
    def apply(self, target, journal):
        journal.setattr(target, "{name}", 1)
"""


class Target(types.ModuleType):
    """Something to patch."""

    def __init__(self) -> None:
        super().__init__("target")


WritePatch = Callable[..., str]


@pytest.fixture
def write_patch(write_files: WriteFiles) -> WritePatch:
    """``write_patch("a", conflicts=["b"])``: the reference of a folder with that patch."""

    def write(name: str, **targets: list[str]) -> str:
        text = manifest(f"patch {name} impl:Patch") + "[component.targets]\n" + "".join(f"{k} = {v!r}\n" for k, v in targets.items())
        folder: Path = write_files(name, {"twinkle-component.toml": text, "impl.py": PATCH.format(name=name)})
        return f"file:{folder}"

    return write


@pytest.mark.parametrize("first", ["a", "b"])
def test_patches_that_conflict_are_refused_whoever_says_so_and_whichever_comes_first(write_patch: WritePatch, first: str) -> None:
    refs = {"a": write_patch("a", conflicts=["patch:b"]), "b": write_patch("b")}
    second = "b" if first == "a" else "a"
    target, other = Target(), Target()
    with apply_patch(refs[first], target):
        for place in (target, other):
            with pytest.raises(PatchConflict, match=rf"{refs['a']} says that it conflicts with {refs['b']}.*revert it first"):
                apply_patch(refs[second], place)
        assert (second in vars(target), second in vars(other)) == (False, False)
    apply_patch(refs[second], target).revert()


def test_a_conflict_with_a_hub_id_means_each_of_its_revisions(hub: LoopbackHub, context: ProcessContext, write_patch: WritePatch) -> None:
    files = {"twinkle-component.toml": manifest("patch theirs impl:Patch").encode(), "impl.py": PATCH.format(name="theirs").encode()}
    commit = hub.repository("ms", "other/x", files).head
    trust(context, f"ms://other/x@{commit}")
    mine, target = write_patch("mine", conflicts=["ms://other/x@v7"]), Target()
    with apply_patch(f"ms://other/x@{commit}", target), pytest.raises(PatchConflict, match=f"conflicts with ms://other/x@{commit}"):
        apply_patch(mine, target)


def test_a_patch_that_comes_after_another_is_in_the_way_of_it_on_the_same_target(write_patch: WritePatch) -> None:
    late, early = write_patch("late", after=["early"]), write_patch("early")
    target = Target()
    with apply_patch(late, target):
        with pytest.raises(PatchConflict, match=rf"{late} is applied and says that it comes after {early}: revert {late}"):
            apply_patch(early, target)
        assert "early" not in vars(target)
        apply_patch(early, Target()).revert()
    with apply_patch(early, target), apply_patch(late, target):
        assert {"early", "late"} <= set(vars(target))
        apply_patch(early, target).revert()  # it is there already: counted, not applied again


def test_after_names_patches_and_no_repository() -> None:
    with pytest.raises(InvalidManifest, match="after"):
        parse_manifest((manifest("patch p impl:P") + '[component.targets]\nafter = ["ms://o/r"]\n').encode(), "here")
    with pytest.raises(InvalidManifest, match="after"):
        parse_manifest((manifest("patch p impl:P") + '[component.targets]\nafter = "x"\n').encode(), "here")
