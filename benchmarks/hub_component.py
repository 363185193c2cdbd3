"""What does it cost to verify and import an approved hub component, and to list what is approved?

    OMP_NUM_THREADS=1 python benchmarks/hub_component.py

Prints the median and the spread of `resolve(...).cls` for small components (7 files, 30 KB) that lie in the store, each loaded once in this
process, the first (which imports the hub loader) apart; and the time of a fresh `twinkle plugin list`. Goals: 10 ms and 0.5 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import twinkle
from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.settings import Settings
from twinkle.hub_loader.grant import Grant
from twinkle.hub_loader.store import ComponentStore
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust_store import TrustStore

NUM_COMPONENTS = 40
COMMIT = "a" * 40


def component(number: int) -> ComponentTree:
    """A component of its own digest."""
    loss = b"class MyLoss:\n    def __call__(self, inputs, outputs):\n        return 1\n"
    modules = {f"module_{i}.py": (f"x_{i} = {i}\n" * 300).encode() for i in range(5)}
    return ComponentTree.of(
        {"__init__.py": f"N = {number}\nfrom .impl import MyLoss\n".encode(), "impl.py": loss + b"# text\n" * 2000, **modules}
    )


def load_times_ms(home: Path) -> list[float]:
    """Milliseconds of each load."""
    times = []
    with use_context(ProcessContext.fresh(replace(Settings.load(), home=home))):
        twinkle.resolve("loss", "cross_entropy")
        for number in range(NUM_COMPONENTS):
            tree = component(number)
            ComponentStore(home).put(tree)
            TrustStore(home).approve(
                Grant(repo=f"ms://o/r{number}", commit=COMMIT, h1=tree.h1, why="", requested=COMMIT, files=tree.digests)
            )
        for number in range(NUM_COMPONENTS):
            before = time.perf_counter()
            _ = twinkle.resolve("loss", f"ms://o/r{number}@{COMMIT}").cls
            times.append((time.perf_counter() - before) * 1000)
    return times


def list_time_s() -> float:
    """Seconds of a fresh ``twinkle plugin list``, the best of five."""
    code = "import sys; sys.argv[1:] = ['plugin', 'list']; from twinkle.cli.main import main; main()"
    best = float("inf")
    for _ in range(5):
        before = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        best = min(best, time.perf_counter() - before)
    return best


def main() -> None:
    """Prints the table."""
    with TemporaryDirectory() as home:
        first, *others = load_times_ms(Path(home))
    low, middle, high = statistics.quantiles(others, n=4)
    spread = f"median {middle:.1f} ms (quartiles {low:.1f} to {high:.1f})"
    print(f"verify + import of a small component: {spread}, goal 10; the first one {first:.0f} ms")
    print(f"twinkle plugin list: {list_time_s():.2f} s, goal 0.5")


if __name__ == "__main__":
    main()
