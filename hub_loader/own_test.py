"""The tests that a component brings, its conformance tests among them, in a fresh Python."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from twinkle.core.errors import InvalidArgument
from twinkle.hub_loader.errors import FailedTests
from twinkle.hub_loader.pack import Pack

FOLDER = "tests"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What pytest said."""

    passed: bool
    output: str
    """Empty where it went to the terminal."""


def run_tests(folder: Path, *, capture: bool) -> Outcome:
    """Runs ``folder/tests`` with pytest in a process of its own, whose current folder is ``folder``.

    Raises:
        InvalidArgument: there are no tests.
    """
    root = folder.resolve()
    if not (root / FOLDER).is_dir():
        raise InvalidArgument(f"{folder / FOLDER}: there are no tests; 'twinkle plugin init' shows how they look")
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", str(root)]
    command = [sys.executable, "-m", "pytest", *options, FOLDER]
    done = subprocess.run(command, capture_output=capture, text=True, check=False, cwd=root)
    return Outcome(passed=done.returncode == 0, output=f"{done.stdout or ''}{done.stderr or ''}")


def check_packed_tests(packed: Pack, *, capture: bool) -> None:
    """Runs the tests over exactly the files that would be uploaded, in a folder that is thrown away.

    Raises:
        InvalidArgument: there are no tests among them.
        FailedTests: one failed, or none ran.
    """
    name = packed.manifest.name
    if not any(path.startswith(f"{FOLDER}/") for path in packed.files):
        raise InvalidArgument(f"{name} has no tests to publish: write some ('twinkle plugin init' shows how they look), or say --no-test")
    with tempfile.TemporaryDirectory(prefix="twinkle-test-") as scratch:
        folder = Path(scratch, name)
        for path, data in packed.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        done = run_tests(folder, capture=capture)
    if not done.passed:
        shown = f":\n{done.output.strip()}" if done.output.strip() else ", as shown above"
        raise FailedTests(f"{name} was not published: its tests failed over the files that would be uploaded{shown}")
