"""What ``import twinkle`` and a look-up cost, and whether they stay so with 1,000 and 10,000 more components.

Prints modules (exact) and ratios of times: a fresh Python with ``import twinkle`` over one without, and each larger registry over the
small one, measured in turns. Absolute times are for orientation only.
Goals: under 0.10 s and 350 modules; a warm look-up under 2 microseconds, with 1,000 more components at most 1.2 times that and no more
modules.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

SIZES = (0, 1_000, 10_000)

LOOK_UP = """
import sys, time
import twinkle
before = time.perf_counter()
twinkle.resolve("loss", "cross_entropy")
first = time.perf_counter() - before
best = 1.0
for _ in range(20):
    before = time.perf_counter()
    for _ in range(5_000):
        twinkle.resolve("loss", "cross_entropy")
    best = min(best, time.perf_counter() - before)
print(first, best / 5_000, len(sys.modules))
"""


def install_plugin(folder: Path, num_components: int) -> None:
    """A toy distribution in ``folder`` that announces ``num_components`` losses."""
    info = folder / "twinkle_many-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twinkle-many\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[twinkle]\nmany = twinkle_many\n")
    (folder / "twinkle_many.py").write_text(
        "from twinkle import hookimpl\n\n\n@hookimpl\ndef twinkle_losses():\n"
        f"    return {{f'loss_{{i}}': f'twinkle_many_{{i}}:Loss{{i}}' for i in range({num_components})}}\n"
    )


def run(code: str, path: Path | None = None) -> tuple[float, str]:
    """Seconds and output of a fresh Python, which sees the installed twinkle and what lies in ``path``."""
    env = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    before = time.perf_counter()
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True)
    return time.perf_counter() - before, done.stdout


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9, help="runs of each kind, in turns")
    pairs = parser.parse_args().pairs

    bare, ours = [], []
    for _ in range(pairs):
        bare.append(run("pass")[0])
        ours.append(run("import twinkle")[0])
    num_modules = int(run("import sys, twinkle; print(len(sys.modules))")[1])
    extra_s = statistics.median(o - b for o, b in zip(ours, bare, strict=True))
    times = statistics.median(ours) / statistics.median(bare)
    print(f"import twinkle: {num_modules} modules, {times:.2f} x a bare Python (+{extra_s:.3f} s)")

    with TemporaryDirectory() as root:
        for size in SIZES:
            install_plugin(Path(root, str(size)), size)
        found: dict[int, list[list[float]]] = {size: [] for size in SIZES}
        for _ in range(pairs):
            for size in SIZES:
                found[size].append([float(word) for word in run(LOOK_UP, Path(root, str(size)))[1].split()])
    few = [statistics.median(column) for column in zip(*found[0], strict=True)]
    print(f"+{0:6,} components: first look-up {few[0] * 1e3:.1f} ms, warm {few[1] * 1e6:.3f} us, {few[2]:.0f} modules")
    for size in SIZES[1:]:
        # the ratio of runs that followed each other, so that a busy moment of the machine hits both
        first, warm = (
            statistics.median(many[column] / one[column] for many, one in zip(found[size], found[0], strict=True)) for column in (0, 1)
        )
        print(f"+{size:6,} components: first look-up x {first:.2f}, warm x {warm:.2f}, {found[size][0][2] - few[2]:+.0f} modules")


if __name__ == "__main__":
    main()
