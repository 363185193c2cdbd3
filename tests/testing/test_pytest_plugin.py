"""The fixtures that the package gives to other people's tests."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from import_graph import ROOT

import twinkle
from twinkle.core.registry import Registry
from twinkle.core.runtime.context import current
from twinkle.hub_loader.errors import UntrustedComponent
from twinkle.testing.loopback_hub import LoopbackHub
from twinkle.testing.pytest_plugin import ApprovedDigests

LOSS = {"impl.py": "def nothing(inputs, outputs):\n    return 0.25\n"}


def run_pytest(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """With the plugin by its module, so that it does not matter when this environment was installed."""
    plugin = ("-p", "no:twinkle", "-p", "twinkle.testing.pytest_plugin", "-p", "no:cacheprovider")
    command = [sys.executable, "-P", "-m", "pytest", *plugin, "-W", "error", "-q", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"twinkle": "twinkle.testing.pytest_plugin"}


@pytest.mark.slow
def test_the_plugin_costs_a_pytest_run_nothing(tmp_path: Path) -> None:
    """Also where the run has nothing to do with Twinkle, and warnings are errors."""
    ours = "[name for name in sys.modules if name.split('.')[0] in ('twinkle', 'torch', 'numpy')]"
    (tmp_path / "test_other.py").write_text(f"import sys, json\ndef test_it():\n    print(json.dumps({ours}))\n")
    done = run_pytest("-s", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = set(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("["))))
    assert loaded == {
        *("twinkle", "twinkle.core", "twinkle.core.facade", "twinkle.core.suggestion", "twinkle.version"),
        *("twinkle.testing", "twinkle.testing.pytest_plugin"),
    }


def test_the_registry_is_that_of_the_test(twinkle_registry: Registry, tmp_path: Path) -> None:
    assert current().registry is twinkle_registry
    assert current().settings.home == tmp_path / "twinkle_home"

    class Plugin:
        @twinkle.hookimpl
        def twinkle_losses(self) -> dict[str, str]:
            return {"mine": "nowhere:Mine"}

    twinkle_registry.register(Plugin(), "mine")
    assert twinkle.resolve("loss", "mine").dist == "mine"


def test_the_registry_of_the_test_before_is_gone() -> None:
    with pytest.raises(LookupError):
        twinkle.resolve("loss", "mine")


@pytest.mark.parametrize("method", ["connect", "connect_ex", "sendto"])
def test_only_loopback_can_be_reached(no_network: None, method: str) -> None:
    kind = socket.SOCK_DGRAM if method == "sendto" else socket.SOCK_STREAM
    before = (b"hello",) if method == "sendto" else ()
    with socket.socket(socket.AF_INET, kind) as outside, pytest.raises(AssertionError, match="only loopback"):
        vars(socket.socket)[method](outside, *before, ("192.0.2.1", 9))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_a_component_repository_can_be_resolved(component_repo: Callable[..., Path]) -> None:
    folder = component_repo(LOSS, "loss quarter impl:nothing", name="my-repo")
    assert folder.name == "my-repo"
    assert twinkle.build("loss", f"file:{folder}#quarter")(None, None) == 0.25
    assert not (component_repo(LOSS, name="bare") / "twinkle-component.toml").exists()


@pytest.mark.parametrize("service", ["ms", "hf"])
def test_a_component_of_the_fake_hub_loads_once_it_is_approved(
    fake_hub: LoopbackHub, trust_store: ApprovedDigests, component_repo: Callable[..., Path], service: str
) -> None:
    folder = component_repo(LOSS, "loss quarter impl:nothing")
    h1 = twinkle.resolve("loss", f"file:{folder}#quarter").h1
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    commit = fake_hub.repository(service, "me/mine", files).head  # type: ignore[arg-type]
    ref = f"{service}://me/mine@{commit}"
    with pytest.raises(UntrustedComponent):
        twinkle.resolve("loss", f"{ref}#quarter")
    assert fake_hub.paths() == [], "nobody was asked before consent"
    assert h1 is not None
    trust_store.approve(ref, h1)
    assert twinkle.build("loss", f"{ref}#quarter")(None, None) == 0.25
    assert fake_hub.paths()


CONFORMANCE = """
from twinkle.testing import load_manifest, parametrize_with_checks

@parametrize_with_checks(load_manifest("twinkle-component.toml"), expected_failed_checks={expected})
def test_conformance(component, check):
    check(component)
"""
WRONG_LOSS = '''
class Mean:
    """The mean over tokens, said to be one over sequences."""

    def __call__(self, inputs, outputs):
        trained = inputs["labels"] != -100
        return -outputs["logps"].masked_fill(~trained, 0.0).sum() / trained.sum().clamp(min=1)
'''


@pytest.mark.slow
def test_a_repository_tests_itself(component_repo: Callable[..., Path]) -> None:
    """As an author does: a failure says what the check is for, an expected one has to fail."""
    outcomes = {}
    for name, expected in (("plain", {}), ("expected", {"loss:micro_batches_add_up": "a mean", "loss:is_pure": "no"})):
        files = {"impl.py": WRONG_LOSS, "tests/test_it.py": CONFORMANCE.format(expected=expected)}
        folder = component_repo(files, "loss mean impl:Mean", name=name)
        outcomes[name] = run_pytest("-rfx", folder=folder)
    plain, surprised = outcomes["plain"].stdout, outcomes["expected"].stdout
    assert "1 failed" in plain and "loss:mean fails loss:micro_batches_add_up: micro-batches of (1, 1, 1, 1) sequences: sum" in plain, plain
    assert "That is what makes a step independent of micro-batches, gradient accumulation and data-parallel ranks." in plain
    assert "1 failed" in surprised and "1 xfailed" in surprised and "[XPASS(strict)] no" in surprised
