"""``twinkle plugin``: each command against a loopback hub, through the real SDKs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import twinkle
from twinkle.cli.plugin import app
from twinkle.cli.scaffold import SCAFFOLDS
from twinkle.core.contracts.hub import Hub
from twinkle.core.errors import InvalidArgument, InvalidConfig
from twinkle.core.hookspecs import hookimpl
from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.settings import Settings
from twinkle.hub_loader.errors import FailedTests, UntrustedComponent
from twinkle.hub_loader.hubs.huggingface import HuggingFaceHub
from twinkle.hub_loader.hubs.modelscope import ModelScopeHub
from twinkle.hub_loader.tree import ComponentTree
from twinkle.testing.loopback_hub import LoopbackHub, left_connections_closed

FILES = {"__init__.py": b"class MyLoss:\n    def __call__(self, inputs, outputs):\n        return 1\n"}
MANIFEST = """
schema = 1
[project]
name = "mine"
version = "1.0"
license = "Apache-2.0"
[[component]]
kind = "loss"
name = "mine"
entry = "__init__:MyLoss"
"""


class Plugin:
    """Serves both schemes from a loopback hub."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    @hookimpl
    def twinkle_hub(self, scheme: str) -> Hub | None:
        """The hub for ``scheme``."""
        made: dict[str, Any] = {"ms": ModelScopeHub, "hf": HuggingFaceHub}
        return made[scheme](endpoint=self.endpoint, token="t") if scheme in made else None


@pytest.fixture
def hub(context: ProcessContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A loopback hub, and a project folder that is the current one."""
    for name in ("MODELSCOPE_CACHE", "MODELSCOPE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with left_connections_closed(), LoopbackHub() as server:
        context.registry.register(Plugin(server.endpoint), "loopback")
        yield server


def run(*arguments: str) -> Any:
    """The command's JSON; its exception where it raised one."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.stdout)


def test_trust_with_a_digest_writes_the_lock_and_the_store(hub: LoopbackHub) -> None:
    commit = hub.repository("ms", "o/r", FILES).head
    h1 = ComponentTree.of(FILES).h1
    with pytest.raises(UntrustedComponent, match="expected was"):
        run("trust", "ms://o/r", "--sha256", "h1:" + "0" * 64)
    assert not Path("twinkle.lock").exists()
    assert run("trust", f"ms://o/r@{commit}", "--sha256", h1)["h1"] == h1
    assert h1 in Path("twinkle.lock").read_text()
    assert twinkle.build("loss", f"ms://o/r@{commit}")(None, None) == 1


def test_trust_without_a_terminal_or_a_digest_fetches_nothing(hub: LoopbackHub) -> None:
    hub.repository("ms", "o/r", FILES)
    with pytest.raises(InvalidArgument, match="--sha256"):
        run("trust", "ms://o/r")
    assert hub.log == []


def test_list_why_info_and_verify_tell_what_is_approved(hub: LoopbackHub, context: ProcessContext) -> None:
    hub.repository("ms", "o/r", FILES)
    h1 = ComponentTree.of(FILES).h1
    assert "is refused" in run("why", "ms://o/r")["verdict"]
    with pytest.raises(UntrustedComponent, match="the hub was not asked"):
        run("info", "ms://o/r")
    assert hub.log == []
    run("trust", "ms://o/r", "--sha256", h1)
    assert [row["repo"] for row in run("list")["components"]] == ["ms://o/r", "ms://o/r"]  # the lock and the trust store
    assert "lock:1" in run("why", "ms://o/r")["verdict"]
    assert run("info", "ms://o/r")["h1"] == h1
    assert run("verify")["problems"] == {}
    file = context.settings.home / "components" / "sha256" / h1.removeprefix("h1:") / "__init__.py"
    file.chmod(0o644)
    file.write_bytes(b"")
    assert "__init__.py" in str(run("verify")["problems"])


def test_a_moved_branch_is_outdated_and_shows_its_difference(hub: LoopbackHub) -> None:
    repository = hub.repository("ms", "o/r", FILES)
    run("trust", "ms://o/r", "--sha256", ComponentTree.of(FILES).h1)
    assert run("outdated") == []
    newer = {"__init__.py": FILES["__init__.py"].replace(b"return 1", b"return 2")}
    now = repository.commit(newer)
    assert [row["now"] for row in run("outdated")] == [now]
    difference = run("diff", "ms://o/r")["difference"]
    assert "-        return 1" in difference
    assert "+        return 2" in difference


def test_revoke_and_remove(hub: LoopbackHub) -> None:
    hub.repository("ms", "o/r", FILES)
    h1 = ComponentTree.of(FILES).h1
    run("trust", "ms://o/r", "--sha256", h1)
    run("revoke", "ms://o/r")
    with pytest.raises(UntrustedComponent, match="was revoked"):
        twinkle.resolve("loss", "ms://o/r")
    run("trust", "ms://o/r", "--sha256", h1)
    assert twinkle.build("loss", "ms://o/r")(None, None) == 1
    assert run("remove", "ms://o/r") == {"removed": [h1]}
    with pytest.raises(UntrustedComponent, match="is not approved"):
        twinkle.resolve("loss", "ms://o/r")


def test_a_strangers_lock_has_to_be_accepted_before_it_is_written_to(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repository("ms", "o/r", FILES)
    h1 = ComponentTree.of(FILES).h1
    run("trust", "ms://o/r", "--sha256", h1)
    with use_context(ProcessContext.fresh(Settings(home=tmp_path / "second"))) as second:
        second.registry.register(Plugin(hub.endpoint), "loopback")
        with pytest.raises(InvalidConfig, match="have not accepted"):
            run("trust", "ms://o/r", "--sha256", h1)
        assert run("trust", "--lock")["accepted"] == [f"ms://o/r@{hub.repositories['ms', 'o/r'].head}"]
        assert [Path(folder).parent for folder in run("vendor")] == [Path.cwd() / "vendor" / "twinkle"]
        assert twinkle.build("loss", "ms://o/r")(None, None) == 1


def test_an_owner_is_trusted_by_name_and_pinned(hub: LoopbackHub) -> None:
    hub.repository("ms", "me/r", FILES)
    run("trust", "ms://me/*")
    assert twinkle.build("loss", "ms://me/r")(None, None) == 1


@pytest.fixture
def component(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a component's folder of a version."""

    def write(version: str) -> Path:
        folder = tmp_path / "component"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_bytes(FILES["__init__.py"])
        (folder / "twinkle-component.toml").write_text(MANIFEST.replace("1.0", version))
        return folder

    return write


@pytest.mark.slow
def test_publish_to_both_hubs_and_use_it_from_a_clean_home(hub: LoopbackHub, component: Callable[[str], Path], tmp_path: Path) -> None:
    folder = str(component("1.0"))
    h1 = run("validate", folder)["h1"]
    assert set(run("pack", folder)["uploaded"]) == {"README.md", "__init__.py", "twinkle-component.toml"}
    run("publish", folder, "--to", "ms://me/x", "--to", "hf://me/x", "--dry-run", "--no-test")
    assert hub.log == []
    published = run("publish", folder, "--to", "ms://me/x", "--to", "hf://me/x", "--no-test")
    assert {item["tests"] for item in published} == {"not run (--no-test)"}
    assert {item["h1"] for item in published} == {h1}
    with use_context(ProcessContext.fresh(Settings(home=tmp_path / "second"))) as second:
        second.registry.register(Plugin(hub.endpoint), "loopback")
        for item in published:
            run("trust", item["ref"], "--sha256", item["h1"])
            assert twinkle.build("loss", f"{item['ref']}#mine")(None, None) == 1


@pytest.mark.slow
def test_nothing_is_uploaded_before_the_tests_of_the_component_passed(hub: LoopbackHub, component: Callable[[str], Path]) -> None:
    folder = component("1.0")
    with pytest.raises(InvalidArgument, match="has no tests to publish"):
        run("publish", str(folder), "--to", "ms://me/x", "--to", "hf://me/x")
    (folder / "tests").mkdir()
    test = folder / "tests" / "test_mine.py"
    test.write_text("def test_mine():\n    assert 1 == 2, 'a marked failure'\n")
    with pytest.raises(FailedTests, match="a marked failure"):
        run("publish", str(folder), "--to", "ms://me/x", "--to", "hf://me/x")
    assert hub.log == []
    test.write_text("from pathlib import Path\n\n\ndef test_mine():\n    assert not Path('.hidden').exists()\n")
    (folder / ".hidden").mkdir()  # is not uploaded, so it is not there where the tests run
    assert {item["tests"] for item in run("publish", str(folder), "--to", "ms://me/x", "--to", "hf://me/x")} == {"passed"}


def test_help_of_every_command_is_there() -> None:
    for command in app.registered_commands:
        assert command.name is not None
        done = CliRunner().invoke(app, [command.name, "--help"])
        assert done.exit_code == 0
        assert "--json" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SCAFFOLDS))
def test_what_init_writes_is_green_and_can_be_published(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "my-part"
    run("init", str(folder), "--kind", kind)
    done = run("test", str(folder))
    assert done["passed"], done["output"]
    assert "passed" in done["output"]
    assert run("validate", str(folder))["component"] == ["impl.py", "twinkle-component.toml"]
    assert twinkle.resolve(kind, f"file:{folder}#my_part").cls.__name__ == "MyPart"


def test_init_refuses_a_folder_with_files_and_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(InvalidArgument, match="is not empty"):
        run("init", str(tmp_path))
    with pytest.raises(InvalidArgument, match="Did you mean 'loss'"):
        run("init", str(tmp_path / "new"), "--kind", "los")


def test_migrate_writes_a_manifest_that_loads(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "__init__.py").write_bytes(FILES["__init__.py"])
    run("migrate", str(folder), "--kind", "loss", "--class", "MyLoss")
    assert twinkle.build("loss", f"file:{folder}#MyLoss")(None, None) == 1
