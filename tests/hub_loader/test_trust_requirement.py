"""R1 to R27: what incidents of other projects taught, each as a test that fails when its guard is gone."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import twinkle
from twinkle.core.errors import HubUnavailable, InvalidArgument, InvalidConfig, InvalidRef
from twinkle.core.kinds import KINDS
from twinkle.core.refs import parse
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader import hub_source as hub_source_module
from twinkle.hub_loader import loader as loader_module
from twinkle.hub_loader.consent import ask_on_terminal, describe, printable
from twinkle.hub_loader.errors import (
    ForbiddenFile,
    IncompatibleComponent,
    InvalidManifest,
    NoComponent,
    RevisionNotFound,
    Tampered,
    UntrustedComponent,
)
from twinkle.hub_loader.hubs.huggingface import HuggingFaceHub
from twinkle.hub_loader.hubs.modelscope import ModelScopeHub
from twinkle.hub_loader.load_component import load_component
from twinkle.hub_loader.lock import read_lock
from twinkle.hub_loader.manifest import parse_manifest
from twinkle.hub_loader.pack import pack
from twinkle.hub_loader.publish import publish
from twinkle.hub_loader.scan import NO_FINDINGS, scan
from twinkle.hub_loader.signature import sign
from twinkle.hub_loader.source import hub_source
from twinkle.hub_loader.store import ComponentStore
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust import TrustPolicy
from twinkle.hub_loader.trust_store import TrustStore
from twinkle.testing.loopback_hub import Fault, LoopbackHub

from .conftest import BOTH, LOSS, WriteFiles, hub_ref, loss_files, manifest, set_settings, trust

ROOMS = ("core", "plugins_builtin", "hub_loader", "kernels", "server", "client", "cli", "testing", "src")
ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def sources() -> list[tuple[Path, ast.Module]]:
    """Every module of ours, parsed."""
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if not path.is_symlink()]
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def calls(module: ast.Module) -> list[tuple[str, ast.Call]]:
    """Every call with its dotted name."""
    nodes = (node for node in ast.walk(module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute))
    return [(ast.unparse(node.func), node) for node in nodes]


ELSEWHERE = [
    'name = "ms://other/repo"',
    'summary = "see https://evil.example/x"',
    'dependencies = ["evil @ https://evil.example/x.whl"]',
    'dependencies = ["--index-url=http://evil"]',
    'requires-python = "/etc/passwd"',
    'license = "other/repo--mod.Cls"',
    'summary = "../../outside"',
]


@pytest.mark.parametrize("line", ELSEWHERE)
def test_r01_a_manifest_names_nothing_outside_its_repository(line: str) -> None:
    key = line.partition(" ")[0]
    text = "\n".join(part for part in manifest("loss x impl:X").splitlines() if not part.startswith(key) or "component" in part)
    text = text.replace("[project]", f"[project]\n{line}", 1)
    with pytest.raises(InvalidManifest, match="names no other repository"):
        parse_manifest(text.encode(), "here")


@BOTH
def test_r01_only_the_approved_repository_is_asked(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    trust(context, f"{scheme}://o/r")
    assert twinkle.build("loss", f"{scheme}://o/r")(None, None) == 1
    assert all("o/r" in line or "internalAccelerationInfo" in line for line in hub.paths())


@BOTH
def test_r02_an_unapproved_reference_makes_no_request(hub: LoopbackHub, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    for revision in ("", "@main", "@" + "a" * 40):
        with pytest.raises(UntrustedComponent, match=rf"twinkle plugin trust {scheme}://o/r"):
            twinkle.resolve("loss", f"{scheme}://o/r{revision}#MyLoss")
        with pytest.raises(UntrustedComponent):
            load_component(f"{scheme}://o/r{revision}", kind="loss")
    assert hub.log == []


def test_r03_no_boolean_opens_anything(hub: LoopbackHub) -> None:
    for value in (True, 1, "yes", "h1:*", bool):
        with pytest.raises(InvalidArgument):
            load_component("ms://o/r", kind="loss", trust=value)  # type: ignore[arg-type]
    assert hub.log == []
    for path, module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert not (isinstance(node.value, ast.Constant) and node.value.value), f"{path}:{node.value.lineno}"
            if isinstance(node, ast.arg) and node.arg in ("trust", "trust_remote_code"):
                assert node.annotation is None or "bool" not in ast.unparse(node.annotation), f"{path}:{node.lineno}"


@pytest.mark.parametrize(
    "entry", ["os:system", "builtins:eval", "os.path:join", "py:os:system", "impl:system", "impl:helper", "impl:os.system"]
)
@pytest.mark.parametrize("kind", [spec.name for spec in KINDS])
def test_r04_data_picks_no_foreign_callable(write_files: WriteFiles, kind: str, entry: str) -> None:
    files = {"twinkle-component.toml": manifest(f"{kind} x {entry}"), "impl.py": "from os import system\nimport os\nhelper = os.popen\n"}
    with pytest.raises((InvalidManifest, NoComponent)):
        _ = twinkle.resolve(kind, f"file:{write_files('mine', files)}").cls


def test_r04_a_lock_and_the_environment_name_no_importable_object(tmp_path: Path, context: ProcessContext) -> None:
    lock = tmp_path / "twinkle.lock"
    for ref in ("py:os:system", "file:/etc", "grpo"):
        entry = f'version = 1\n[[component]]\nref = "{ref}"\ncommit = "{"a" * 40}"\nh1 = "h1:{"b" * 64}"\n'
        lock.write_text(entry, encoding="utf-8")
        with pytest.raises(InvalidConfig, match="scheme://owner/name"):
            read_lock(lock)
    lock.unlink()
    set_settings(context, trusted=("py:os:system",))
    with pytest.raises(InvalidConfig, match="TWINKLE_TRUST"):
        TrustPolicy.of(context.settings, tmp_path)


UNSAFE_LOADERS = {
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pickle.load",
    "pickle.loads",
    "marshal.loads",
    "dill.load",
    "joblib.load",
}


def test_r05_only_safe_parsers_are_used() -> None:
    for path, module in sources():
        for name, call in calls(module):
            round_trip = path.is_relative_to(ROOT / "testing") and name.startswith("pickle.")  # the kit reads what it wrote itself
            assert name not in UNSAFE_LOADERS or round_trip, f"{path}:{call.lineno}: {name}"
            if name == "torch.load":
                safe = [k for k in call.keywords if k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True]
                assert safe, f"{path}:{call.lineno}: torch.load without weights_only=True"


AUDIT = """
import sys
started = []
STARTS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork")
sys.addaudithook(lambda name, args: started.append(name) if name in STARTS else None)
import twinkle
{body}
print(started)
"""


def test_r06_dependencies_are_checked_and_never_installed(write_files: WriteFiles, context: ProcessContext) -> None:
    project = 'dependencies = ["no-such-distribution>=2", "pluggy>=999", "pytest>=1"]'
    files = {"twinkle-component.toml": manifest("loss x impl:MyLoss", project=project), "impl.py": LOSS.format(answer=1)}
    folder = write_files("mine", files)
    with pytest.raises(
        IncompatibleComponent, match=r"no-such-distribution >=2, which is not installed; it needs pluggy >=999.*pip install"
    ):
        _ = twinkle.resolve("loss", f"file:{folder}").cls
    files["twinkle-component.toml"] = manifest("loss x impl:MyLoss")
    folder = write_files("fine", files)
    body = f'twinkle.build("loss", "file:{folder}")'
    done = subprocess.run([sys.executable, "-c", AUDIT.format(body=body)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@BOTH
@pytest.mark.parametrize("name", ["w.pkl", "w.pt", "w.bin", "w.mdl", "w.joblib", "x.pyc", "x.so", "x.pth", "a.zip", "a.tar.gz"])
def test_r07_forbidden_files_are_refused_when_loaded_and_when_published(
    hub: LoopbackHub, context: ProcessContext, write_files: WriteFiles, scheme: str, name: str
) -> None:
    hub.repository(scheme, "o/r", {**loss_files(1), name: b"x"})  # type: ignore[arg-type]
    with pytest.raises(ForbiddenFile, match=name):
        trust(context, f"{scheme}://o/r")
    assert not any(name in line for line in hub.paths())
    folder = write_files("mine", {"twinkle-component.toml": manifest("loss x __init__:MyLoss"), "__init__.py": LOSS, name: ""})
    with pytest.raises(ForbiddenFile, match=name):
        pack(folder)


def test_r08_the_static_look_informs_and_never_decides(hub: LoopbackHub, context: ProcessContext) -> None:
    loud = ComponentTree.of({"__init__.py": b"import subprocess\nexec('x')\n"})
    assert [finding.partition(":")[2] for finding in scan(loud)] == [
        "1: import subprocess: can start processes",
        "2: exec(...) runs text as code",
    ]
    hub.repository("ms", "o/quiet", loss_files(1))
    source = hub_source(context)
    ref = hub_ref("ms://o/quiet")
    candidate = source.candidate(ref, source.reader("ms").resolve("o/quiet", None))
    assert scan(candidate.tree) == []
    assert NO_FINDINGS in describe(candidate)
    assert "safe" not in describe(candidate).lower()
    with pytest.raises(UntrustedComponent):
        source.policy.authorize(candidate)


@BOTH
def test_r09_a_recreated_repository_is_refused_with_what_changed(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    trust(context, f"{scheme}://o/r")
    hub.recreate(scheme, "o/r", loss_files("'evil'"))  # type: ignore[arg-type]
    with pytest.raises(UntrustedComponent, match=r"digest changed: .* changed: '__init__\.py'.*twinkle plugin diff"):
        twinkle.resolve("loss", f"{scheme}://o/r")


def test_r09_other_bytes_under_an_approved_commit_are_refused(hub: LoopbackHub, context: ProcessContext) -> None:
    repository = hub.repository("ms", "o/r", loss_files(1))
    grant = trust(context, "ms://o/r")
    ComponentStore(context.settings.home).remove(grant.h1)
    commit = repository.commits[grant.commit]
    repository.commits[grant.commit] = type(commit)(id=commit.id, files=loss_files(2), parent=None, message="", date=commit.date)
    with pytest.raises(Tampered, match=r"digest changed in '__init__\.py'"):
        twinkle.resolve("loss", f"ms://o/r@{grant.commit}")


def test_r09_a_revocation_beats_the_lock(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    grant = trust(context, "ms://o/r", lock=True)
    resolved = twinkle.resolve("loss", "ms://o/r")
    for what in (grant.h1, "ms://o/r", "ms://o"):
        store = TrustStore(context.settings.home)
        store.revoke(what)
        with pytest.raises(UntrustedComponent, match="was revoked"):
            _ = resolved.cls
        store.update(lambda record: dataclasses.replace(record, revoked=frozenset()))
    (context.settings.home / "deny.txt").write_text(f"# by the operator\n{grant.h1}  # bad\n")
    with pytest.raises(UntrustedComponent, match="was revoked"):
        _ = resolved.cls


def test_r10_an_owner_is_never_read_out_of_a_path(hub: LoopbackHub, context: ProcessContext, write_files: WriteFiles) -> None:
    TrustStore(context.settings.home).approve_owner("ms://iic")
    for name in ("iic-x/r", "iic.x/r", "x/iic"):
        hub.repository("ms", name, loss_files(1))
        with pytest.raises(UntrustedComponent):
            twinkle.resolve("loss", f"ms://{name}")
    for name in ("iic--hacked/r", "iic/../x/r", "x/iic--r"):
        with pytest.raises(InvalidRef):
            twinkle.resolve("loss", f"ms://{name}")
    assert hub.log == []
    folder = write_files("ms/iic/r", {"__init__.py": LOSS.format(answer=1)})
    assert twinkle.resolve("loss", f"file:{folder}").trust == "local"
    assert twinkle.resolve("loss", f"file:{folder}").repo == str(folder)


def snapshot(folder: Path) -> dict[str, str]:
    """Path -> digest of all files below, the session number aside that ModelScope's SDK keeps in its own folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.parts[-3:] != ("MODELSCOPE_HOME", "credentials", "session"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


HOSTILE = [
    "../../escaped.py",
    "/tmp/absolute.py",
    "a/../../b.py",
    "a\\b.py",
    "C:/x.py",
    "nul\x00.py",
    "x\x1b[31m.py",
    "__INIT__.py",
    "./x.py",
    "a//b.py",
]


@BOTH
@pytest.mark.parametrize("path", HOSTILE)
def test_r11_a_hostile_listing_writes_nothing(hub: LoopbackHub, context: ProcessContext, tmp_path: Path, scheme: str, path: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    hub.faults.append(Fault(kind="listing", entries={path: 5}))
    before = snapshot(tmp_path)
    with pytest.raises(ForbiddenFile):
        trust(context, f"{scheme}://o/r")
    assert snapshot(tmp_path) == before
    assert not any("/resolve/" in line or "FilePath=" in line for line in hub.paths())


def test_r11_a_link_in_a_listing_is_refused(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", {**loss_files(1), "more.py": b"link:/etc/passwd"})
    with pytest.raises(ForbiddenFile, match="is a link"):
        trust(context, "ms://o/r")


def test_r12_poisoned_sdk_caches_have_no_effect(hub: LoopbackHub, context: ProcessContext, tmp_path: Path) -> None:
    commit = hub.repository("ms", "o/r", loss_files(1)).head
    for place in (f"models/o--r/snapshots/{commit}", "models/o--r/snapshots/master", "models/o/r", "hub/models/o/r", "hub/o/r", "o/r"):
        folder = tmp_path / "MODELSCOPE_CACHE" / place
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_bytes(loss_files("'poison'")["__init__.py"])
    trust(context, "ms://o/r")
    assert twinkle.build("loss", "ms://o/r")(None, None) == 1


def test_r12_a_poisoned_hugging_face_cache_has_no_effect(
    hub: LoopbackHub, context: ProcessContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    commit = hub.repository("hf", "o/r", loss_files(1)).head
    folder = tmp_path / "hf" / "models--o--r" / "snapshots" / str(commit)
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_bytes(loss_files("'poison'")["__init__.py"])
    (tmp_path / "hf" / "models--o--r" / "refs").mkdir()
    (tmp_path / "hf" / "models--o--r" / "refs" / "main").write_text(str(commit))
    trust(context, "hf://o/r")
    assert twinkle.build("loss", "hf://o/r")(None, None) == 1


@BOTH
@pytest.mark.usefixtures("fast_retries")
def test_r13_a_byte_flipped_in_transit_is_named(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1, impl="x = 1\n"))  # type: ignore[arg-type]
    hub.faults.append(Fault(kind="flip", path=r"impl\.py"))
    with pytest.raises((Tampered, HubUnavailable), match=r"impl\.py"):
        trust(context, f"{scheme}://o/r")
    assert not (context.settings.home / "components").exists()


def test_r13_a_byte_flipped_in_the_store_is_named(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1, impl="x = 1\n"))
    grant = trust(context, "ms://o/r")
    file = ComponentStore(context.settings.home).folder(grant.h1) / "impl.py"
    file.chmod(0o644)
    file.write_bytes(b"x = 2\n")
    with pytest.raises(Tampered, match=r"'impl\.py' differs from what was approved"):
        twinkle.resolve("loss", "ms://o/r")


def test_r13_a_file_added_to_the_store_is_named(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    grant = trust(context, "ms://o/r")
    (ComponentStore(context.settings.home).folder(grant.h1) / "more.py").write_bytes(b"")
    with pytest.raises(Tampered, match=r"'more\.py'"):
        twinkle.resolve("loss", "ms://o/r")


def test_r14_a_component_stands_in_for_no_other_module(hub: LoopbackHub, context: ProcessContext) -> None:
    import colorsys

    hub.repository("ms", "o/colorsys", loss_files(1, colorsys="evil = True\n", json="evil = True\n"))
    trust(context, "ms://o/colorsys")
    before = set(sys.modules)
    loss = twinkle.build("loss", "ms://o/colorsys")
    assert loss(None, None) == 1
    added = {name for name in set(sys.modules) - before if not name.startswith(("twinkle.", "twinkle_components"))}
    assert not added, added
    assert sys.modules["colorsys"] is colorsys
    assert sys.modules["json"] is json


def test_r15_a_proposed_commit_needs_the_flag_and_its_digest(hub: LoopbackHub, context: ProcessContext) -> None:
    repository = hub.repository("hf", "o/r", loss_files(1))
    trust(context, "hf://o/r")
    proposal = repository.propose(loss_files("'outsider'"))
    with pytest.raises(UntrustedComponent, match="on no branch or tag"):
        trust(context, f"hf://o/r@{proposal}")
    h1 = ComponentTree.of(loss_files("'outsider'")).h1
    for how in ({"expected_h1": h1}, {"allow_unmerged": True}):
        with pytest.raises(UntrustedComponent, match="--allow-unmerged --sha256"):
            trust(context, f"hf://o/r@{proposal}", **how)
    with pytest.raises(UntrustedComponent, match="expected was"):
        trust(context, f"hf://o/r@{proposal}", expected_h1="h1:" + "0" * 64, allow_unmerged=True)
    assert trust(context, f"hf://o/r@{proposal}", expected_h1=h1, allow_unmerged=True).h1 == h1


def test_r15_an_older_commit_counts_where_there_is_a_history_and_needs_its_digest_where_not(
    hub: LoopbackHub, context: ProcessContext
) -> None:
    for scheme in ("hf", "ms"):
        repository = hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
        older = repository.head
        repository.commit(loss_files(2))
        if scheme == "ms":
            with pytest.raises(UntrustedComponent, match="no history to prove"):
                trust(context, f"ms://o/r@{older}")
            trust(context, f"ms://o/r@{older}", expected_h1=ComponentTree.of(loss_files(1)).h1)
        else:
            trust(context, f"hf://o/r@{older}")


@BOTH
def test_r16_a_redirect_to_another_host_gets_no_token(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    with LoopbackHub() as other:
        elsewhere = other.endpoint.replace("127.0.0.1", "localhost")
        for path in (r"info/refs|/revision/|/api/models/o/r$", r"repo\?Revision|/resolve/"):
            hub.faults[:] = [Fault(kind="redirect", path=path, location=f"{elsewhere}/o/r")]
            with pytest.raises((HubUnavailable, Tampered)):
                trust(context, f"{scheme}://o/r")
        assert not any(request.authorization for request in other.log)
        assert any(request.authorization for request in hub.log)


def test_r17_offline_refuses_what_online_refuses(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    hub.repository("ms", "o/other", loss_files(2))
    grant = trust(context, "ms://o/r")
    hub.log.clear()
    set_settings(context, offline=True)
    assert twinkle.build("loss", "ms://o/r")(None, None) == 1
    assert twinkle.build("loss", f"ms://o/r@{grant.commit}")(None, None) == 1
    for ref in ("ms://o/other", "ms://o/r@v9", "ms://o/r@" + "a" * 40):
        with pytest.raises(UntrustedComponent, match="offline"):
            twinkle.resolve("loss", ref)
    TrustStore(context.settings.home).revoke(grant.h1)
    with pytest.raises(UntrustedComponent):
        twinkle.resolve("loss", "ms://o/r")
    assert hub.log == []


def test_r17_a_signer_policy_is_enforced_when_loading(hub: LoopbackHub, context: ProcessContext) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex()
    files = loss_files(1)
    signature = sign(ComponentTree.of(files), key)
    flipped = signature.replace(signature[-2:-1], b"0" if signature[-2:-1] != b"0" else b"1")
    for name, data in {"good": signature, "flipped": flipped, "other": sign(ComponentTree.of(files), key[::-1])}.items():
        hub.repository("ms", f"o/{name}", {**files, "component.sig": data})
    hub.repository("ms", "o/unsigned", files)
    names = ("good", "flipped", "other", "unsigned")
    for name in names:
        trust(context, f"ms://o/{name}")
    (context.settings.home / "signers.toml").write_text(f'[signers]\n"ms://o/*" = "ed25519:{public}"\n')
    for name in names[1:]:
        with pytest.raises(UntrustedComponent, match="sign"):
            _ = twinkle.resolve("loss", f"ms://o/{name}").cls
    assert twinkle.build("loss", "ms://o/good")(None, None) == 1


@BOTH
@pytest.mark.usefixtures("fast_retries")
def test_r18_a_hub_that_fails_is_an_error_and_no_cached_answer(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    trust(context, f"{scheme}://o/r", lock=False)
    for status in (500, 503, 429, 403, 401):
        hub.faults[:] = [Fault(kind="status", status=status, headers={"Retry-After": "0"})]
        with pytest.raises(HubUnavailable):
            twinkle.resolve("loss", f"{scheme}://o/r")
    set_settings(context, offline=True)
    assert twinkle.build("loss", f"{scheme}://o/r")(None, None) == 1


@BOTH
def test_r18_an_unknown_revision_is_not_found(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    for revision in ("nope", "a" * 40):
        with pytest.raises((RevisionNotFound, UntrustedComponent)) as caught:
            trust(context, f"{scheme}://o/r@{revision}", expected_h1="h1:" + "0" * 64)
        assert isinstance(caught.value, RevisionNotFound)


@BOTH
@pytest.mark.parametrize("bad", ["link", "env", "token", "key"])
def test_r19_publishing_uploads_no_secret_and_follows_no_link(hub: LoopbackHub, write_files: WriteFiles, scheme: str, bad: str) -> None:
    folder = write_files("mine", {"twinkle-component.toml": manifest("loss x __init__:MyLoss"), "__init__.py": LOSS.format(answer=1)})
    match bad:
        case "link":
            (folder / "passwd.txt").symlink_to("/etc/passwd")
        case "env":
            (folder / ".env").write_text("A=1")
        case "token":
            (folder / "notes.txt").write_text("hf_" + "a" * 34)
        case "key":
            (folder / "README.md").write_text("-----BEGIN " + "PRIVATE KEY-----\n")
    service = {"ms": ModelScopeHub, "hf": HuggingFaceHub}[scheme](endpoint=hub.endpoint, token="t")
    with pytest.raises(ForbiddenFile):
        publish(pack(folder), service, hub_ref(f"{scheme}://me/x"), private=True)
    assert hub.log == []


def test_r19_a_folder_that_became_a_link_is_not_followed(write_files: WriteFiles) -> None:
    folder = write_files("mine", {"twinkle-component.toml": manifest("loss x __init__:MyLoss"), "__init__.py": LOSS, "sub/a.py": ""})
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    (folder / "sub" / "a.py").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(write_files("outside", {"a.py": "secret = 1"}))
    with pytest.raises(ForbiddenFile, match="is a link"):
        pack(folder)


def test_r20_every_way_to_foreign_code_goes_through_authorize(
    hub: LoopbackHub, context: ProcessContext, write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [(path.name, name) for path, module in sources() for name, _ in calls(module) if name in ("exec", "eval", "runpy.run_path")]
    assert runs == [("loader.py", "exec")]
    makers = [(path.name, name) for path, module in sources() for name, _ in calls(module) if name.rpartition(".")[2] == "Approval"]
    assert makers == [("trust.py", "Approval")]
    hub.repository("ms", "o/r", loss_files(1))
    folder = write_files("mine", {"__init__.py": LOSS.format(answer=1)})
    grant = trust(context, "ms://o/r")

    def refuse(self: TrustPolicy, candidate: object) -> None:
        raise UntrustedComponent("the one door")

    monkeypatch.setattr(TrustPolicy, "authorize", refuse)
    for load in (
        lambda: twinkle.resolve("loss", "ms://o/r").cls,
        lambda: twinkle.build("loss", f"file:{folder}"),
        lambda: load_component("ms://o/r", kind="loss", trust=grant.h1),
        lambda: load_component("ms://o/r", kind="loss", trust=lambda candidate: True),
        lambda: __import__(loader_module.package_of(grant.h1)),
    ):
        with pytest.raises(UntrustedComponent, match="the one door"):
            load()


def test_r21_an_installed_module_of_the_same_name_is_never_used(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/textwrap", {"twinkle-component.toml": manifest("loss x textwrap:MyLoss").encode(), **loss_files(1)})
    trust(context, "ms://o/textwrap")
    with pytest.raises(InvalidManifest, match=r"there is no textwrap\.py"):
        twinkle.resolve("loss", "ms://o/textwrap")
    assert twinkle.core.refs.parse("textwrap/dedent") == parse("textwrap/dedent")
    with pytest.raises(LookupError):
        twinkle.resolve("loss", "textwrap/dedent")


@BOTH
def test_r22_without_configuration_every_hub_reference_is_refused(hub: LoopbackHub, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    for spec in KINDS:
        with pytest.raises(UntrustedComponent):
            twinkle.resolve(spec.name, f"{scheme}://o/r")
    assert hub.log == []
    assert TrustPolicy(home=Path("/nowhere")).grants == ()


def test_r23_a_planted_pyc_is_never_run(hub: LoopbackHub, context: ProcessContext, write_files: WriteFiles) -> None:
    import py_compile

    folder = write_files("mine", {"__init__.py": LOSS.format(answer="'evil'")})
    py_compile.compile(str(folder / "__init__.py"))
    status = os.stat(folder / "__init__.py")
    text = (folder / "__init__.py").read_text().replace("'evil'", "'fine'")
    (folder / "__init__.py").write_text(text)
    os.utime(folder / "__init__.py", (status.st_atime, status.st_mtime))
    assert list(folder.rglob("*.pyc"))
    assert twinkle.build("loss", f"file:{folder}")(None, None) == "fine"
    pyc = next(folder.rglob("*.pyc"))
    hub.repository("ms", "o/r", {**loss_files(1), f"__pycache__/{pyc.name}": pyc.read_bytes()})
    hub.repository("ms", "o/source", {**loss_files(1), "__pycache__/evil.py": b"x = 1"})
    for name in ("ms://o/r", "ms://o/source"):
        with pytest.raises(ForbiddenFile, match="__pycache__"):
            trust(context, name)


def test_r24_the_bytes_that_were_verified_are_the_bytes_that_run(
    hub: LoopbackHub, context: ProcessContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository("ms", "o/r", loss_files(1))
    grant = trust(context, "ms://o/r")
    resolved = twinkle.resolve("loss", "ms://o/r")
    real = hub_source_module.load_entry

    def swap_first(*arguments: object) -> object:
        file = ComponentStore(context.settings.home).folder(grant.h1) / "__init__.py"
        file.chmod(0o644)
        file.write_bytes(loss_files("'swapped'")["__init__.py"])
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hub_source_module, "load_entry", swap_first)
    assert resolved.cls()(None, None) == 1


@BOTH
def test_r25_a_moved_tag_gives_the_locked_bytes_or_asks_again(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    repository = hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    repository.tags["v1"] = str(repository.head)
    trust(context, f"{scheme}://o/r@v1", lock=True)
    repository.tags["v1"] = repository.commit(loss_files("'moved'"))
    assert twinkle.build("loss", f"{scheme}://o/r@v1")(None, None) == 1
    Path("twinkle.lock").unlink()
    with pytest.raises(UntrustedComponent, match="digest changed"):
        twinkle.resolve("loss", f"{scheme}://o/r@v1")


def test_r26_what_a_terminal_would_act_on_is_escaped(hub: LoopbackHub, context: ProcessContext) -> None:
    assert printable("a\x1b[2Jb\u202ec\r") == "a\\x1b[2Jb\\u202ec\\r"
    hub.repository("ms", "o/r", loss_files(1, impl="x = '\x1b]0;title\x07'\n"))
    source = hub_source(context)
    candidate = source.candidate(hub_ref("ms://o/r"), source.reader("ms").resolve("o/r", None))
    shown: list[str] = []
    answers = iter(["s", "d", "what", "", "y"])
    assert ask_on_terminal(candidate, lambda question: next(answers), shown.append) is True
    assert not any(ord(c) < 32 and c not in "\n\t" for text in shown for c in text)
    assert ask_on_terminal(candidate, lambda question: "n", shown.append) is False
    for name in ("ms://оwner/repo", "ms://owner/repо", "hf://o/r@vérsion"):  # Cyrillic letters, an accent
        with pytest.raises(InvalidRef):
            parse(name)


@BOTH
@pytest.mark.usefixtures("fast_retries")
def test_r27_a_body_without_end_is_cut_at_the_cap(hub: LoopbackHub, context: ProcessContext, scheme: str) -> None:
    hub.repository(scheme, "o/r", loss_files(1))  # type: ignore[arg-type]
    hub.faults.append(Fault(kind="endless"))
    with pytest.raises((Tampered, HubUnavailable), match=r"sends more than the 83 bytes that it lists|Server exceeded 83 bytes"):
        trust(context, f"{scheme}://o/r")
    hub.faults[:] = [Fault(kind="listing", entries={"big.py": 1 << 40})]
    with pytest.raises(ForbiddenFile, match="bytes: a component has"):
        trust(context, f"{scheme}://o/r")
