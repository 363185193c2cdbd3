"""A package of a stranger, installed by pip: one entry point adds a loss, a metric and a whole new kind, and our code stays as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import ROOT

pytestmark = pytest.mark.slow

PACKAGE = ROOT / "tests" / "plugin_package"
TOYS = [("loss", "focal"), ("metric", "bits_per_token"), ("judge", "shorter")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the toy package into."""
    folder = tmp_path_factory.mktemp("plugin_package")
    shutil.copytree(PACKAGE, folder / "source")  # a build leaves files beside its source
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    run([*pip, "--disable-pip-version-check", "--target", str(folder / "site"), str(folder / "source")])
    return folder / "site"


def run(command: list[str], site: Path | None = None, cwd: Path | None = None, **environ: str) -> str:
    """The output of ``command`` with ``site`` on its path; it has to succeed."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": str(site)} if site else {}), **environ}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=cwd)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_its_parts_are_listed_beside_ours_and_nothing_of_them_is_imported(installed: Path) -> None:
    code = (
        "import json, sys, twinkle\n"
        "from twinkle.core.runtime.context import current\n"
        "registry = current().registry\n"
        "rows = [(kind, c.name, c.plugin.dist, c.plugin.version) for kind in registry.kinds for c in registry.components(kind)]\n"
        "resolved = [twinkle.resolve(*row[:2]).provenance() for row in rows if row[2]]\n"
        "print(json.dumps([rows, resolved, list(sys.modules)]))\n"
    )
    rows, resolved, modules = json.loads(run([sys.executable, "-P", "-c", code], installed, TWINKLE_PLUGINS_STRICT="1"))
    theirs = [row for row in rows if row[2]]
    assert theirs == [[kind, name, "twinkle-toy", "1.0.0"] for kind, name in TOYS]
    assert ["loss", "cross_entropy", None, None] in rows
    assert all((one["origin"], one["trust"]) == ("dist", "installed") for one in resolved)
    assert {name for name in modules if name.startswith("twinkle_toy")} == {"twinkle_toy", "twinkle_toy.plugin"}
    assert "torch" not in modules


def test_its_own_tests_pass_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE / "tests", tmp_path / "tests")
    report = run([sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."], installed, cwd=tmp_path / "tests")
    assert "4 passed" in report


def test_a_plugin_that_is_not_allowed_is_not_there(installed: Path) -> None:
    code = "import twinkle\ntry: twinkle.resolve('loss', 'focal')\nexcept LookupError as error: print(error)"
    assert "no loss is named 'focal'" in run([sys.executable, "-P", "-c", code], installed, TWINKLE_PLUGINS="none")


def test_its_parts_train_a_model(installed: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from twinkle.model import TransformersModel\n"
        "model = TransformersModel(model_id=sys.argv[1])\n"
        "model.set_loss('focal', gamma=2.0)\n"
        "model.add_metric('twinkle-toy/bits_per_token')\n"
        "model.set_optimizer('AdamW', lr=1e-3)\n"
        "ids = list(range(5, 25))\n"
        "row = {'input_ids': ids, 'labels': [*ids[1:], -100]}\n"
        "losses = []\n"
        "for _ in range(4):\n"
        "    losses.append(float(model.forward_backward(inputs=[row])['loss']))\n"
        "    model.clip_grad_and_step()\n"
        "assert losses[-1] < losses[0], losses\n"
        "print(sorted(model.calculate_metric()))\n"
    )
    assert "bits_per_token" in run([sys.executable, "-P", "-c", code, str(tiny_model_folder)], installed, cwd=tmp_path)
