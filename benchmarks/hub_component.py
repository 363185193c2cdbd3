"""What it costs to verify and import an approved component of a hub, and to list what there is."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import twinkle
from benchmarks.bench import OURS, Case, Goal, Size, Variant, budget, timed
from benchmarks.fresh_python import time_of_fresh_python
from twinkle.core.errors import TwinkleError
from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.settings import Settings
from twinkle.hub_loader.grant import Grant
from twinkle.hub_loader.store import ComponentStore
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust_store import TrustStore

COMMIT = "a" * 40
NUM_LOADS = 10
LIST = "import sys; sys.argv[1:] = ['plugin', 'list']; from twinkle.cli.main import main; main()"


def cases(size: Size) -> Iterator[Case]:
    """Verify and import, then the command."""
    with TemporaryDirectory() as folder:
        yield load_case(Path(folder))
    yield Case(
        name="twinkle plugin list",
        variants={OURS: time_of_fresh_python(LIST), "a bare Python": time_of_fresh_python("pass"), "0.5 s": budget(0.5)},
        check=lambda: None,
        goals=[Goal(peer="0.5 s", at_least=1)],
    )


def load_case(folder: Path) -> Case:
    """Small components (7 files, 30 KB each) that lie in a store, others each time, against the import of the same files."""
    homes, packages = (folder / name for name in ("homes", "packages"))
    return Case(
        name=f"verify and import {NUM_LOADS} components",
        variants={OURS: loads(homes), "plain import": plain_imports(packages), "10 ms each": budget(NUM_LOADS * 0.01)},
        check=lambda: check_load(folder / "checked"),
        goals=[Goal(peer="10 ms each", at_least=1)],
    )


def check_load(home: Path) -> None:
    """An approved component is the one that was stored, and is refused when a file of it was changed."""
    for number in (-1, -2):
        ref = stored(home, number)
        with use_context(context_of(home)):
            if number == -1:
                assert twinkle.resolve("loss", ref).cls()(None, None) == 1, "not the component that was stored"
                continue
            for path in home.rglob("impl.py"):
                path.chmod(0o600)
                path.write_bytes(path.read_bytes().replace(b"return 1", b"return 2"))
            try:
                _ = twinkle.resolve("loss", ref).cls
            except TwinkleError:
                return
    raise AssertionError("a component was imported whose file had been changed in the store")


def context_of(home: Path) -> ProcessContext:
    """A context of its own, which knows its plugins."""
    context = ProcessContext.fresh(replace(Settings.load(), home=home))
    context.registry.resolve("loss", "cross_entropy")
    return context


def files(number: int) -> Mapping[str, bytes]:
    """A component of its own digest."""
    loss = b"class MyLoss:\n    def __call__(self, inputs, outputs):\n        return 1\n"
    modules = {f"module_{i}.py": (f"x_{i} = {i}\n" * 300).encode() for i in range(5)}
    return {"__init__.py": f"N = {number}\nfrom .impl import MyLoss\n".encode(), "impl.py": loss + b"# text\n" * 2000, **modules}


def stored(home: Path, number: int) -> str:
    """The name of a component that is stored and approved."""
    tree, repo = ComponentTree.of(files(number)), f"ms://o/r{number}"
    ComponentStore(home).put(tree)
    TrustStore(home).approve(Grant(repo=repo, commit=COMMIT, h1=tree.h1, why="", requested=COMMIT, files=tree.digests))
    return f"{repo}@{COMMIT}"


def loads(homes: Path) -> Variant:
    """Resolves and imports components that no earlier call has seen, from a store that holds only these."""
    calls = count()

    def run() -> float:
        call = next(calls)
        home = homes / str(call)
        refs = [stored(home, call * NUM_LOADS + i) for i in range(NUM_LOADS)]
        with use_context(context_of(home)):
            return timed(lambda: [twinkle.resolve("loss", ref).cls for ref in refs])()

    return run


def plain_imports(folder: Path) -> Variant:
    """Imports packages of the same files that no earlier call has seen."""
    calls = count()
    folder.mkdir()
    sys.path.append(str(folder))

    def run() -> float:
        call = next(calls)
        names = [f"plain_{call * NUM_LOADS + i}" for i in range(NUM_LOADS)]
        for number, name in enumerate(names):
            (folder / name).mkdir()
            for path, content in files(number).items():
                (folder / name / path).write_bytes(content)
        importlib.invalidate_caches()
        return timed(lambda: [importlib.import_module(name) for name in names])()

    return run
