"""What an import costs, counted in modules. Times are for the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from installed_plugin import SitePackages

HEAVY = {"torch", "numpy", "transformers", "datasets", "peft", "ray", "pandas", "pyarrow"}
MAX_MODULES = 350


def modules_after(code: str, *, path: Path | None = None) -> set[str]:
    """The modules of a fresh Python after ``code``, with ``path`` before everything else on sys.path."""
    prelude = "import sys, json\n" + (f"sys.path.insert(0, {str(path)!r})\n" if path else "")
    program = f"{prelude}{code}\nprint(json.dumps(list(sys.modules)))"
    # -P: the repository's root is not on sys.path, as in an installed package
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def components_in(modules: set[str]) -> set[str]:
    """Modules of the built-in rooms that hold a component: everything below ``plugins_builtin.<kind>``."""
    return {name for name in modules if name.startswith("twinkle.plugins_builtin.") and name.count(".") > 2}


LIST_ALL = "from twinkle.core.registry import Registry\nr = Registry()\nfor kind in r.kinds: r.components(kind)\n"


def test_importing_twinkle_loads_nothing_heavy_and_no_plugin() -> None:
    modules = modules_after("import twinkle")
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith(("twinkle.plugins_builtin", "twinkle.hub_loader", "pluggy"))}
    assert len(modules) < MAX_MODULES


@pytest.mark.parametrize("facade", ["loss", "metric", "preprocessor", "dataset"])
def test_importing_a_facade_loads_no_component(facade: str) -> None:
    modules = modules_after(f"import twinkle.{facade}")
    assert modules & HEAVY | components_in(modules) == set()


def test_listing_and_resolving_every_name_imports_no_component() -> None:
    modules = modules_after(LIST_ALL + "for kind in r.kinds:\n    for c in r.components(kind): r.resolve(kind, c.class_name)")
    assert modules & HEAVY | components_in(modules) == set()


def test_the_command_that_lists_components_imports_none() -> None:
    call = "from twinkle.cli.main import main\nsys.argv = ['twinkle', 'components', 'list']\ntry: main()\n"
    modules = modules_after(call + "except SystemExit as exit: assert not exit.code")
    assert modules & HEAVY | components_in(modules) == set()


def test_a_thousand_more_components_import_no_more_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = SitePackages(tmp_path / "few", monkeypatch), SitePackages(tmp_path / "many", monkeypatch)
    for site, number in ((few, 1), (many, 1001)):
        site.add("big-pkg", f"@hookimpl\ndef twinkle_losses(): return {{f'l{{i}}': f'big_impl_{{i}}:L{{i}}' for i in range({number})}}")
    code = LIST_ALL + "r.resolve('loss', 'cross_entropy')\nassert r.resolve('loss', 'l0').dist == 'big-pkg'"
    assert modules_after(code, path=tmp_path / "few") == modules_after(code, path=tmp_path / "many")
