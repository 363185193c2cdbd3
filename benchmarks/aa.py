"""Is the machine quiet enough to tell 3 %? A step against itself: matrix products and Python in equal parts."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.bench import OURS, Case, Size, timed


def cases(size: Size) -> Iterator[Case]:
    """One case without a peer: the harness times ours against ours in every case."""
    x = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))

    def step() -> None:
        for _ in range(4):
            torch.mm(x, x)
        sum(i * i for i in range(40_000))

    yield Case(name="products and Python", variants={OURS: timed(step)}, check=lambda: None)
