"""The code of README and docs is run, and says what the files say that it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from import_graph import ROOMS, ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLUGIN_WALK = ROOT / "docs" / "write_a_plugin.md"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>python|toml)\n(?P<code>.*?)```", re.DOTALL)


def blocks(document: Path) -> list[tuple[str, str, str]]:
    """(the line before it, language, code) of each block of Python or TOML."""
    return [(m["before"], m["language"], m["code"]) for m in BLOCK.finditer(document.read_text(encoding="utf-8"))]


def shown_file(before: str) -> str | None:
    """The file that a block shows, where the line before it ends in its name: "`twinkle_toy/plugin.py`:"."""
    match = re.search(r"`([\w/]+\.(?:py|toml))`[:,]?(?:$|:)", before)
    return match[1] if match else None


def run(code: str, folder: Path, path: Path | None = None, **environ: str) -> str:
    """The output of ``code`` in a Python of its own, in ``folder``."""
    (folder / "block.py").write_text(code, encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TWINKLE_PLUGINS_STRICT": "1", **({"PYTHONPATH": str(path)} if path else {}), **environ}
    command = [sys.executable, "-P", "block.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_the_walk_shows_the_files_of_the_toy_package() -> None:
    walk = PLUGIN_WALK.read_text(encoding="utf-8").partition("## The entry point")[2]
    shown = {name: code for before, _, code in blocks(PLUGIN_WALK) if (name := shown_file(before)) and code in walk}
    package = ROOT / "tests" / "plugin_package"
    there = {p.relative_to(package).as_posix() for p in package.rglob("*") if p.suffix in {".py", ".toml"}}
    assert shown.keys() == there - {"twinkle_toy/__init__.py"}
    for name, code in shown.items():
        assert code == (package / name).read_text(encoding="utf-8"), f"docs/write_a_plugin.md and tests/plugin_package/{name} differ"


@pytest.mark.slow
def test_the_twelve_lines_are_twelve_and_run(tmp_path: Path) -> None:
    (_, _, module), (_, _, project), (_, _, use) = blocks(PLUGIN_WALK)[:3]
    assert len(module.splitlines()) == 12
    announced = tomllib.loads(project)["project"]
    points = announced["entry-points"]["twinkle"]
    site = tmp_path / "site"
    info = site / "twinkle_dozen-0.1.0.dist-info"
    info.mkdir(parents=True)
    (site / "twinkle_dozen.py").write_text(module)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {announced['name']}\nVersion: {announced['version']}\n")
    (info / "entry_points.txt").write_text("[twinkle]\n" + "".join(f"{key} = {value}\n" for key, value in points.items()))
    run(use, tmp_path, site)


def test_a_plugin_is_registered_as_the_walk_says(tmp_path: Path) -> None:
    [code] = [code for _, language, code in blocks(PLUGIN_WALK) if language == "python" and "registry.register" in code]
    run(code, tmp_path)


@pytest.fixture
def mirror(tmp_path: Path, tiny_model_folder: Path) -> Path:
    """A mirror with the model and the data that README names."""
    folder = tmp_path / "mirror"
    shutil.copytree(tiny_model_folder, folder / "ms" / "Qwen" / "Qwen3-4B")
    rows = [{"query": "Who are you?", "response": "I am {{NAME}}, made by {{AUTHOR}}."}] * 24
    data = folder / "ms" / "swift" / "self-cognition"
    data.mkdir(parents=True)
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_loop_of_the_readme_runs_as_it_stands(tmp_path: Path, mirror: Path) -> None:
    [code] = [code for _, language, code in blocks(ROOT / "README.md") if language == "python"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    assert "loss" in run(code, tmp_path, TWINKLE_HUB_MIRROR=str(mirror))
    assert list((tmp_path / "output").rglob("adapter_model.safetensors"))


def test_the_readme_shows_every_room() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [room for room in ROOMS if not re.search(rf"^{room}/", text, re.MULTILINE)]


def test_the_documents_name_make_targets_files_and_pages_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets, document
        links = [link for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text) if not (document.parent / link).exists()]
        assert links == [], document


def test_the_documents_install_through_the_constraints() -> None:
    for document in DOCUMENTS:
        installs = re.findall(r"pip install [^`\n]*", document.read_text(encoding="utf-8"))
        assert not [line for line in installs if "-e" in line and "-c constraints.txt" not in line], document
        assert not [line for line in installs if "twinkle-kit" in line], document
