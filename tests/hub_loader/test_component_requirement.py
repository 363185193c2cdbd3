"""R29 to R52: loading, names, patches, the lock and publishing, each as a test that fails when its guard is gone."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import importlib_metadata
import pytest

import twinkle
from twinkle.core.applicability import PatchEnvironment, Refuse
from twinkle.core.errors import AmbiguousComponent, BrokenComponent, HubUnavailable, PatchConflict, PatchRefused, UnknownComponent
from twinkle.core.hookspecs import hookimpl
from twinkle.core.patching import apply_patch, patched
from twinkle.core.refs import FileRef, parse
from twinkle.core.registry import Registry
from twinkle.core.runtime.context import ProcessContext
from twinkle.core.settings import Settings
from twinkle.hub_loader.approve import accept_lock
from twinkle.hub_loader.consent import describe
from twinkle.hub_loader.errors import IncompatibleComponent, InvalidManifest, NoComponent, Tampered, UntrustedComponent
from twinkle.hub_loader.folder_source import FolderSource
from twinkle.hub_loader.hubs.huggingface import HuggingFaceHub
from twinkle.hub_loader.hubs.modelscope import ModelScopeHub
from twinkle.hub_loader.load_component import load_component
from twinkle.hub_loader.lock import LockEntry, read_lock, write_lock
from twinkle.hub_loader.pack import pack
from twinkle.hub_loader.publish import publish
from twinkle.hub_loader.scan import scan
from twinkle.hub_loader.shipment import receive, ship
from twinkle.hub_loader.source import hub_source
from twinkle.hub_loader.store import ComponentStore
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust import TrustPolicy
from twinkle.hub_loader.trust_store import TrustStore
from twinkle.testing.loopback_hub import LoopbackHub

from .conftest import BOTH, LOSS, WriteFiles, child_environment, hub_ref, loss_files, manifest, set_settings, trust

# ---- loading


def test_r29_two_versions_and_two_plugins_of_a_kind_live_in_one_process(hub: LoopbackHub, context: ProcessContext) -> None:
    repository = hub.repository("hf", "o/r", loss_files(1))
    first = trust(context, "hf://o/r").commit
    second = repository.commit(loss_files(2))
    trust(context, f"hf://o/r@{second}")
    hub.repository("ms", "o/other", loss_files(3))
    trust(context, "ms://o/other")
    losses = [twinkle.build("loss", ref) for ref in (f"hf://o/r@{first}#MyLoss", f"hf://o/r@{second}#MyLoss", "ms://o/other#MyLoss")]
    assert [loss(None, None) for loss in losses] == [1, 2, 3]
    assert len({type(loss) for loss in losses}) == 3


def test_r30_relative_imports_work(hub: LoopbackHub, context: ProcessContext) -> None:
    files = {
        "twinkle-component.toml": manifest("loss x losses.deep:MyLoss").encode(),
        "losses/deep.py": b"from ..shared import base\nfrom . import near\n" + LOSS.format(answer="base() + near.N").encode(),
        "losses/near.py": b"N = 1\n",
        "shared/__init__.py": b"from .inner import base\n",
        "shared/inner.py": b"def base(): return 41\n",
    }
    hub.repository("ms", "o/r", files)
    trust(context, "ms://o/r")
    assert twinkle.build("loss", "ms://o/r#x")(None, None) == 42


UNPICKLE = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())(None, None))"


def run_child(code: str, environment: dict[str, str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A fresh Python process."""
    return subprocess.run([sys.executable, "-c", code], env=environment, input=data, capture_output=True, check=False, timeout=60)


@pytest.mark.slow
def test_r31_a_worker_unpickles_what_it_approves_and_nothing_else(hub: LoopbackHub, context: ProcessContext, tmp_path: Path) -> None:
    hub.repository("ms", "o/r", loss_files(5))
    grant = trust(context, "ms://o/r")
    data = pickle.dumps(twinkle.build("loss", "ms://o/r"))
    hub.log.clear()
    assert run_child(UNPICKLE, child_environment(context), data).stdout.strip() == b"5"
    stranger = {**child_environment(context), "TWINKLE_HOME": str(tmp_path / "another_home")}
    assert b"UntrustedComponent" in run_child(UNPICKLE, stranger, data).stderr
    TrustStore(context.settings.home).revoke(grant.h1)
    assert b"UntrustedComponent" in run_child(UNPICKLE, child_environment(context), data).stderr
    assert hub.log == []


RANK = """
import pickle, sys
from twinkle.hub_loader.shipment import receive
resolved = receive(pickle.loads(sys.stdin.buffer.read()))
print(resolved.cls()(None, None), resolved.h1)
"""


def test_r32_every_rank_runs_the_drivers_bytes_and_asks_no_hub(hub: LoopbackHub, context: ProcessContext, tmp_path: Path) -> None:
    repository = hub.repository("ms", "o/r", loss_files(1))
    trust(context, "ms://o/r")
    resolved = twinkle.resolve("loss", "ms://o/r")
    data = pickle.dumps(ship(resolved))
    repository.commit(loss_files("'moved'"))
    hub.log.clear()
    rank = {**child_environment(context, hub), "TWINKLE_HOME": str(tmp_path / "rank_home"), "RANK": "1"}
    assert run_child(RANK, rank, data).stdout.decode().split() == ["1", str(resolved.h1)]
    assert hub.log == []


def test_r32_a_shipment_with_other_bytes_is_refused(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    trust(context, "ms://o/r")
    shipment = ship(twinkle.resolve("loss", "ms://o/r"))
    changed = type(shipment)(resolved=shipment.resolved, grant=shipment.grant, files=loss_files("'evil'"))
    with pytest.raises(Tampered, match="shipped are"):
        receive(changed)


LOAD = "import twinkle; print(twinkle.build('loss', 'ms://o/r')(None, None))"


@pytest.mark.slow
def test_r33_eight_processes_at_once_leave_one_store_entry(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(6, impl="x = 1\n"))
    grant = trust(context, "ms://o/r")
    store = ComponentStore(context.settings.home)
    store.remove(grant.h1)
    command = [sys.executable, "-c", LOAD]
    environment = child_environment(context, hub)
    children = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(8)]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [out.strip() for out, _ in outputs] == [b"6"] * 8, outputs
    assert [entry.name for entry in store.folder(grant.h1).parent.iterdir()] == [grant.h1.removeprefix("h1:")]
    assert store.get(grant.h1) is not None


def test_r33_the_second_of_two_writers_keeps_the_firsts_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, tree = ComponentStore(tmp_path), ComponentTree.of(loss_files(1))
    real = os.rename

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", real)
        ComponentStore(tmp_path).put(tree)
        real(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    folder = store.put(tree)
    assert list(folder.parent.iterdir()) == [folder]
    assert store.get(tree.h1) == tree


CRASH = """
import os, pathlib, sys
from twinkle.hub_loader.store import ComponentStore
from twinkle.hub_loader.tree import ComponentTree
real, written = pathlib.Path.write_bytes, []
def dying(self, data):
    real(self, data)
    written.append(self)
    if len(written) == 2:
        os.kill(os.getpid(), 9)
pathlib.Path.write_bytes = dying
ComponentStore(pathlib.Path(sys.argv[1])).put(ComponentTree.of({f"{i}.py": b"x = 1" for i in range(4)}))
"""


def test_r34_a_process_killed_while_it_stores_leaves_nothing_to_see(tmp_path: Path) -> None:
    tree = ComponentTree.of({f"{i}.py": b"x = 1" for i in range(4)})
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    store = ComponentStore(tmp_path)
    assert store.get(tree.h1) is None
    assert not store.folder(tree.h1).exists()
    store.put(tree)
    assert store.get(tree.h1) == tree


def test_r34_a_store_that_cannot_be_written_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ComponentTree.of({f"{i}.py": b"x = 1" for i in range(4)})
    real, calls = Path.write_bytes, []

    def full(self: Path, data: bytes) -> int:
        calls.append(self)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        ComponentStore(tmp_path).put(tree)
    assert list((tmp_path / "components" / "sha256").iterdir()) == []


def test_r35_a_failed_import_takes_its_modules_and_hooks_away(hub: LoopbackHub, context: ProcessContext) -> None:
    text = "import sys\nfrom . import ok\nsys.path.insert(0, '/x')\nsys.meta_path.insert(0, object())\nraise RuntimeError('boom')\n"
    hub.repository("ms", "o/r", {"__init__.py": text.encode(), "ok.py": b""})
    trust(context, "ms://o/r")
    resolved = twinkle.resolve("loss", "ms://o/r")
    path = list(sys.path)
    for _ in range(2):
        with pytest.raises(BrokenComponent, match=r"ms://o/r@[0-9a-f]{40} \(h1:[0-9a-f]{64}\) could not be imported: RuntimeError: boom"):
            _ = resolved.cls
        assert sys.path == path
        assert all(type(finder) is not object for finder in sys.meta_path)
        assert not [name for name in sys.modules if name.startswith("twinkle_components.")]


# ---- names


class FakePoint:
    """An entry point of a distribution that is not there."""

    def __init__(self, dist: str, load: Callable[[], object], value: str = "pkg.plugin") -> None:
        self.name, self.value, self.load = "plugin", value, load
        self.dist = types.SimpleNamespace(name=dist, version="1.0")


def plugin_with(**names: str) -> object:
    """A plugin whose losses are ``names``."""

    class Plugin:
        @hookimpl
        def twinkle_losses(self) -> dict[str, str]:
            return names

    return Plugin()


def registry_with(monkeypatch: pytest.MonkeyPatch, *points: FakePoint) -> Registry:
    """A registry that finds ``points`` installed."""
    monkeypatch.setattr(importlib_metadata, "entry_points", lambda **select: points)
    return Registry(Settings())


def test_r36_a_broken_plugin_takes_nothing_else_down_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise ImportError("needs a thing")

    registry = registry_with(monkeypatch, FakePoint("bad", broken), FakePoint("good", lambda: plugin_with(fine="json:JSONDecoder")))
    assert registry.resolve("loss", "fine").dist == "good"
    with pytest.raises(UnknownComponent, match=r"broken plugin bad 1\.0.*: ImportError: needs a thing"):
        registry.resolve("loss", "gone")


def test_r37_a_name_of_two_packages_is_an_error_that_lists_both(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [FakePoint(name, lambda: plugin_with(same="json:JSONDecoder")) for name in ("one", "two")]
    with pytest.raises(AmbiguousComponent, match=r"one/same .* two/same"):
        registry_with(monkeypatch, *points).resolve("loss", "same")


def test_r38_an_editable_install_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [FakePoint(name, lambda: plugin_with(mine="json:JSONDecoder")) for name in ("my-pkg", "my_pkg")]
    registry = registry_with(monkeypatch, *points)
    assert registry.resolve("loss", "mine").name == "mine"
    assert len([plugin for plugin in registry.plugins if plugin.dist is not None]) == 1
    assert registry.broken_plugins == ()


def test_r39_a_builtin_is_not_shadowed(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_with(monkeypatch, FakePoint("evil", lambda: plugin_with(cross_entropy="json:JSONDecoder")))
    with pytest.warns(UserWarning, match="evil/cross_entropy"):
        assert registry.resolve("loss", "cross_entropy").origin == "builtin"
    assert registry.resolve("loss", "evil/cross_entropy").origin == "dist"


def test_r40_a_typo_gets_a_suggestion(hub: LoopbackHub, context: ProcessContext) -> None:
    with pytest.raises(UnknownComponent, match=r"Did you mean .*'cross_entropy'"):
        twinkle.resolve("loss", "cros_entropy")
    hub.repository("ms", "o/r", {"twinkle-component.toml": manifest("loss dapo __init__:MyLoss").encode(), **loss_files(1)})
    trust(context, "ms://o/r")
    with pytest.raises(NoComponent, match="Did you mean 'dapo'"):
        twinkle.resolve("loss", "ms://o/r#dappo")


def test_r41_importing_twinkle_imports_no_plugin() -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", "import twinkle"], capture_output=True, text=True, check=True)
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    rooms = (
        "twinkle.plugins_builtin",
        "twinkle.hub_loader",
        "twinkle.kernels",
        "twinkle_components",
        "torch",
        "huggingface_hub",
        "modelscope",
    )
    assert not [name for name in imported if name.startswith(rooms)]


# ---- patches

OLD_PATCH = b"""
from twinkle.patch import Patch

class OldPatch(Patch):
    def __call__(self, module, value=1, fail=False):
        module.extra = value
        type(module).method = lambda self: value
        type(module).static = staticmethod(lambda: value)
        if fail:
            raise RuntimeError('half way')
"""


class Module:
    """Something to patch."""

    @staticmethod
    def static() -> str:
        return "raw"

    def method(self) -> str:
        return "raw"


def test_r42_revert_restores_the_very_objects(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/patch", {"__init__.py": OLD_PATCH})
    trust(context, "ms://o/patch")
    module, before = Module(), dict(vars(Module))
    with patched(module, "ms://o/patch", value=7):
        assert (module.method(), module.static(), vars(module)) == (7, 7, {"extra": 7})
    assert vars(module) == {}
    assert all(vars(Module)[name] is value for name, value in before.items() if name not in ("__dict__", "__weakref__"))


def test_r43_a_patch_that_fails_changed_nothing(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/patch", {"__init__.py": OLD_PATCH})
    trust(context, "ms://o/patch")
    module, before = Module(), dict(vars(Module))
    with pytest.raises(RuntimeError, match="half way"):
        apply_patch("ms://o/patch", module, fail=True)
    assert vars(module) == {}
    assert all(vars(Module)[name] is value for name, value in before.items() if name not in ("__dict__", "__weakref__"))
    assert context.patches.applied == ()


@pytest.mark.slow
def test_r44_the_patch_on_top_goes_first_and_other_bytes_conflict(hub: LoopbackHub, context: ProcessContext) -> None:
    repository = hub.repository("hf", "o/patch", {"__init__.py": OLD_PATCH})
    hub.repository("hf", "o/second", {"__init__.py": OLD_PATCH + b"# other"})
    first_commit = trust(context, "hf://o/patch").commit
    trust(context, "hf://o/second")
    module = Module()
    first = apply_patch(f"hf://o/patch@{first_commit}", module, value=1)
    assert apply_patch(f"hf://o/patch@{first_commit}", module, value=1) is first
    first.revert()
    second = apply_patch("hf://o/second", module, value=2)
    with pytest.raises(PatchConflict, match=r"hf://o/second patched .* on top: revert it first"):
        first.revert()
    moved = repository.commit({"__init__.py": OLD_PATCH + b"# newer"})
    trust(context, f"hf://o/patch@{moved}")
    with pytest.raises(PatchConflict, match="with other bytes"):
        apply_patch(f"hf://o/patch@{moved}", module, value=1)
    second.revert()
    first.revert()
    assert vars(module) == {}


def test_r45_a_patch_outside_its_version_range_is_refused_before_it_is_imported(hub: LoopbackHub, context: ProcessContext) -> None:
    text = manifest("patch p __init__:OldPatch") + '[component.targets]\npluggy = ">=999"\nmodules = ["pluggy"]\n'
    hub.repository("ms", "o/patch", {"__init__.py": b"raise RuntimeError('imported')", "twinkle-component.toml": text.encode()})
    trust(context, "ms://o/patch")
    with pytest.raises(IncompatibleComponent, match="it needs pluggy >=999, installed is 1"):
        apply_patch("ms://o/patch", Module())


def test_r46_code_that_changed_upstream_is_refused() -> None:
    class Guarded:
        def applies(self, environment: PatchEnvironment) -> Any:
            return environment.unchanged({"textwrap:TextWrapper.wrap": "sha256:of-another-release"})

        def apply(self, target: Any, journal: Any) -> None:
            raise AssertionError("applied")

    assert isinstance(Guarded().applies(PatchEnvironment(None)), Refuse)
    with pytest.raises(PatchRefused, match=r"textwrap:TextWrapper\.wrap changed upstream"):
        apply_patch(Guarded(), Module())


# ---- lock, vendor, publish


def test_r47_a_lock_is_the_same_bytes_after_a_round_trip_and_in_any_order(tmp_path: Path) -> None:
    files = {"b.py": "1" * 64, 'we"ird.py': "2" * 64}
    entries = [
        LockEntry(
            repo=f"ms://o/{name}",
            commit=letter * 40,
            h1=f"h1:{letter * 64}",
            files=files,
            requested="v1",
            mirrors=(f"hf://o/x@{letter * 40}",),
        )
        for name, letter in (("b", "a"), ("a", "b"))
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    write_lock(one, entries)
    write_lock(two, read_lock(one)[::-1])
    assert one.read_bytes() == two.read_bytes()
    assert list(read_lock(one)) == sorted(entries, key=lambda entry: entry.repo)


def test_r47_a_strangers_lock_is_no_consent(hub: LoopbackHub, context: ProcessContext, tmp_path: Path) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    trust(context, "ms://o/r", lock=True)
    set_settings(context, home=tmp_path / "second_home")
    hub.log.clear()
    with pytest.raises(UntrustedComponent, match=r"stands in the twinkle\.lock of this project, which you have not accepted"):
        twinkle.resolve("loss", "ms://o/r")
    assert hub.log == []
    accept_lock(TrustStore(context.settings.home), Path("twinkle.lock"))
    assert twinkle.build("loss", "ms://o/r")(None, None) == 1
    assert twinkle.resolve("loss", "ms://o/r").trust == "lock:1"
    text = Path("twinkle.lock").read_text()
    Path("twinkle.lock").write_text(text + "\n# one line more, pulled from somewhere\n")
    with pytest.raises(UntrustedComponent, match="have not accepted"):
        twinkle.resolve("loss", "ms://o/r")


def test_r47_locked_means_only_the_lock_counts(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    hub.repository("ms", "o/free", loss_files(2))
    trust(context, "ms://o/r", lock=True)
    trust(context, "ms://o/free")
    set_settings(context, locked=True)
    assert twinkle.build("loss", "ms://o/r")(None, None) == 1
    with pytest.raises(UntrustedComponent):
        twinkle.resolve("loss", "ms://o/free")


def test_r48_a_vendored_component_loads_with_the_network_blocked(
    hub: LoopbackHub, context: ProcessContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository("ms", "o/r", loss_files(8))
    grant = trust(context, "ms://o/r", lock=True)
    folder = hub_source(context).store.vendor(grant.h1)
    assert folder.relative_to(Path.cwd()).parts[:2] == ("vendor", "twinkle")
    hub.log.clear()
    hub.repositories.clear()
    set_settings(context, home=tmp_path / "clean_home", offline=True, lock_trust_project=True)
    assert twinkle.build("loss", "ms://o/r")(None, None) == 8
    assert hub.log == []
    (folder / "__init__.py").write_bytes(loss_files("'edited'")["__init__.py"])
    with pytest.raises(Tampered, match=r"'__init__\.py' differs"):
        twinkle.resolve("loss", "ms://o/r")


@pytest.mark.slow
def test_r49_published_on_both_hubs_it_has_one_digest(hub: LoopbackHub, context: ProcessContext, write_files: WriteFiles) -> None:
    files = {"twinkle-component.toml": manifest("loss x impl:MyLoss"), "impl.py": LOSS.format(answer=9), "data/names.json": "{}"}
    folder = write_files("mine", {**files, "tests/test_x.py": "assert 1\n", "README.md": "# mine\n", "docs/a.md": "a"})
    packed = pack(folder)
    hubs = {"ms": ModelScopeHub(endpoint=hub.endpoint, token="t"), "hf": HuggingFaceHub(endpoint=hub.endpoint, token="t")}
    done = [publish(packed, service, hub_ref(f"{scheme}://me/x"), private=True) for scheme, service in hubs.items()]
    assert done[0].h1 == done[1].h1 == packed.tree.h1
    assert {scheme: hub.repositories[scheme, "me/x"].private for scheme in ("ms", "hf")} == {"ms": True, "hf": True}
    for published in done:
        trust(context, published.ref)
        assert twinkle.build("loss", f"{published.ref}#x")(None, None) == 9
    with pytest.raises(InvalidManifest, match=r"has version 1\.0 already"):
        publish(packed, hubs["ms"], hub_ref("ms://me/x"), private=True)
    (folder / "data" / "names.json").unlink()
    (folder / "twinkle-component.toml").write_text(manifest("loss x impl:MyLoss", version="1.1"))
    newer = [publish(pack(folder), service, hub_ref(f"{scheme}://me/x"), private=True) for scheme, service in hubs.items()]
    assert newer[0].h1 == newer[1].h1 == pack(folder).tree.h1


@BOTH
def test_r50_the_older_layout_loads(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    name = f"{scheme}://twinkle-kit/qwen3_moe_transformers4_patch"
    hub.repository(scheme, "twinkle-kit/qwen3_moe_transformers4_patch", {"__init__.py": OLD_PATCH, "README.md": b"# x"})  # type: ignore[arg-type]
    trust(context, name)
    module = Module()
    with patched(module, name, value=3):
        assert module.method() == 3
    assert module.method() == "raw"
    source = hub_source(context)
    commit = source.reader(scheme).resolve("twinkle-kit/qwen3_moe_transformers4_patch", None)
    assert "legacy: no manifest" in describe(source.candidate(hub_ref(name), commit))


def test_r51_looking_at_a_component_imports_nothing(hub: LoopbackHub, context: ProcessContext, write_files: WriteFiles) -> None:
    files = {
        "twinkle-component.toml": manifest("loss x __init__:MyLoss"),
        "__init__.py": "raise SystemExit('imported')\nclass MyLoss: ...\n",
    }
    folder = write_files("mine", files)
    hub.repository("ms", "o/r", {path: text.encode() for path, text in files.items()})
    source = hub_source(context)
    candidate = source.candidate(hub_ref("ms://o/r"), source.reader("ms").resolve("o/r", None))
    describe(candidate)
    scan(candidate.tree)
    pack(folder)
    trust(context, "ms://o/r", lock=True)
    twinkle.resolve("loss", "ms://o/r")
    twinkle.resolve("loss", f"file:{folder}")
    context.registry.components("loss")
    assert not [name for name in sys.modules if name.startswith("twinkle_components.")]


def test_r52_messages_name_the_id_the_reason_and_the_command(
    hub: LoopbackHub, context: ProcessContext, tmp_path: Path, write_files: WriteFiles
) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    commit = hub.repositories["ms", "o/r"].head
    folder = write_files("mine", {"x.py": ""})
    h1 = ComponentTree.of(loss_files(1)).h1

    def message(act: Callable[[], object]) -> str:
        with pytest.raises((UntrustedComponent, HubUnavailable, NoComponent, Tampered)) as caught:
            act()
        return str(caught.value)

    assert message(lambda: twinkle.resolve("loss", "ms://o/r@v1#MyLoss")) == (
        "ms://o/r@v1#MyLoss is not approved, so nothing of it was fetched. To look at it and approve it: twinkle plugin trust ms://o/r@v1"
    )
    assert message(lambda: load_component("ms://o/r", kind="loss", trust="h1:" + "0" * 64)) == (
        f"ms://o/r at {commit} has the digest {h1}, expected was h1:{'0' * 64}"
    )
    assert message(lambda: trust(context, "ms://o/none")) == (
        "ms://o/none: there is no such repository, or it is private: check the name, or log in with 'modelscope login'"
    )
    assert message(lambda: twinkle.resolve("loss", f"file:{folder}")) == (
        f"file:{folder}: expected twinkle-component.toml, or an __init__.py with one loss (the older layout), found neither"
    )
    set_settings(context, trust_remote_code="0")
    assert message(lambda: twinkle.resolve("loss", "ms://o/r")) == (
        "ms://o/r: TWINKLE_TRUST_REMOTE_CODE=0 forbids every component of a hub"
    )
    set_settings(context, trust_remote_code=None)
    TrustStore(context.settings.home).revoke("ms://o")
    assert (
        message(lambda: twinkle.resolve("loss", "ms://o/r"))
        == "ms://o/r: ms://o was revoked; 'twinkle plugin trust ms://o/r' takes that back"
    )


def test_the_kill_switch_beats_every_grant(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    trust(context, "ms://o/r", lock=True)
    set_settings(context, trust_remote_code="0")
    hub.log.clear()
    with pytest.raises(UntrustedComponent, match="forbids"):
        twinkle.resolve("loss", "ms://o/r")
    assert hub.log == []
    set_settings(context, trust_remote_code="1")
    with pytest.warns(DeprecationWarning, match="allows nothing"), pytest.raises(UntrustedComponent):
        twinkle.resolve("loss", "ms://o/unapproved")


def test_a_server_runs_only_what_the_operator_locked(hub: LoopbackHub, context: ProcessContext, write_files: WriteFiles) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    hub.repository("ms", "o/free", loss_files(2))
    trust(context, "ms://o/r", lock=True)
    trust(context, "ms://o/free")
    policy = TrustPolicy.server(context.settings, Path.cwd())
    assert [grant.repo for grant in policy.grants] == ["ms://o/r"]
    assert (policy.allows_local, policy.consent, policy.owners) == (False, None, frozenset())
    folder = write_files("mine", {"__init__.py": LOSS.format(answer=1)})
    source = FolderSource(policy=policy, kinds=dict(context.registry.kinds))
    ref = parse(f"file:{folder}")
    assert isinstance(ref, FileRef)
    with pytest.raises(UntrustedComponent, match="a server runs no code from folders"):
        source.resolve("loss", ref)
    with pytest.raises(UntrustedComponent, match="a server runs no code from folders"):
        source.load(twinkle.resolve("loss", f"file:{folder}"))
    with pytest.raises(UntrustedComponent, match="is not approved"):
        hub_source(context, policy).obtain(hub_ref("ms://o/free"))


@pytest.mark.parametrize("answer", [False, None, 1, "y"])
def test_only_a_clear_yes_is_consent(hub: LoopbackHub, context: ProcessContext, answer: object) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    with pytest.raises(UntrustedComponent, match="was not approved"):
        load_component("ms://o/r", kind="loss", trust=lambda candidate: answer)  # type: ignore[arg-type, return-value]


def test_an_exact_digest_in_the_environment_is_enough(hub: LoopbackHub, context: ProcessContext) -> None:
    commit = hub.repository("hf", "o/r", loss_files(1)).head
    h1 = ComponentTree.of(loss_files(1)).h1
    set_settings(context, trusted=(f"hf://o/r@{commit}#{h1}",))
    assert twinkle.build("loss", f"hf://o/r@{commit}")(None, None) == 1
    set_settings(context, trusted=(f"hf://o/r@{commit}#h1:{'0' * 64}",))
    with pytest.raises(Tampered):
        twinkle.resolve("loss", f"hf://o/r@{commit}")


def test_a_trusted_owner_is_pinned_on_first_use(hub: LoopbackHub, context: ProcessContext) -> None:
    repository = hub.repository("ms", "me/r", loss_files(1))
    TrustStore(context.settings.home).approve_owner("ms://me")
    assert twinkle.build("loss", "ms://me/r")(None, None) == 1
    repository.commit(loss_files("'moved'"))
    with pytest.raises(UntrustedComponent, match="digest changed"):
        twinkle.resolve("loss", "ms://me/r")


def test_consent_for_one_call_is_remembered_nowhere(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    seen: list[str] = []

    def look(candidate: Any) -> bool:
        seen.append(candidate.tree.h1)
        return True

    assert load_component("ms://o/r", kind="loss", trust=look)()(None, None) == 1
    assert load_component("ms://o/r", kind="loss", trust=seen[0])()(None, None) == 1
    with pytest.raises(UntrustedComponent, match="was not approved"):
        load_component("ms://o/r", kind="loss", trust=lambda candidate: False)
    with pytest.raises(UntrustedComponent):
        twinkle.resolve("loss", "ms://o/r")
    assert not TrustStore(context.settings.home).path.exists()


def test_an_audit_line_stands_before_the_first_byte_runs(hub: LoopbackHub, context: ProcessContext) -> None:
    path = str(context.settings.home / "audit.jsonl")
    text = f"import pathlib\nlines = pathlib.Path({path!r}).read_text()\n" + LOSS.format(answer="lines")
    hub.repository("ms", "o/r", {"__init__.py": text.encode()})
    grant = trust(context, "ms://o/r")
    lines = twinkle.build("loss", "ms://o/r")(None, None)
    assert grant.h1 in lines
    assert grant.commit in lines


def test_a_mirror_of_the_lock_stands_in_for_a_hub_that_is_down(hub: LoopbackHub, context: ProcessContext, tmp_path: Path) -> None:
    hub.repository("hf", "o/mirror", loss_files(1))
    hub.repository("ms", "o/r", loss_files(1))
    trust(context, "ms://o/r", lock=True)
    (entry,) = read_lock(Path("twinkle.lock"))
    hub.repositories.pop(("ms", "o/r"))
    mirror = f"hf://o/mirror@{hub.repositories['hf', 'o/mirror'].head}"
    write_lock(Path("twinkle.lock"), [replace(entry, mirrors=(mirror,))])
    set_settings(context, home=tmp_path / "clean", lock_trust_project=True)
    assert twinkle.build("loss", "ms://o/r")(None, None) == 1
