"""A component by a stranger: a folder with a manifest and one small metric, which ``twinkle demo`` names like any other part."""

from __future__ import annotations

from pathlib import Path

MANIFEST = """\
schema = 1

[project]
name = "toy-metrics"
version = "1.0.0"
license = "Apache-2.0"
summary = "One metric, as a third party would write it."

[[component]]
kind = "metric"
name = "perplexity"
entry = "perplexity:Perplexity"
"""

SOURCE = '''\
"""Perplexity: how many tokens the model hesitates between, on average."""

import math


class Perplexity:
    """exp(mean of -log p over the trained tokens)."""

    def __init__(self):
        self.reset()

    def accumulate(self, inputs, outputs):
        """Takes one micro-batch in; labels of -100 are not trained."""
        trained = inputs["labels"] != -100
        self._sum = self._sum - outputs["logps"].detach()[trained].sum()
        self._num_tokens = self._num_tokens + trained.sum()

    def calculate(self):
        """The perplexity since the last reset."""
        if not int(self._num_tokens):
            return {}
        return {"perplexity": math.exp(float(self._sum) / int(self._num_tokens))}

    def reset(self):
        """Forgets everything."""
        self._sum = self._num_tokens = 0
'''


def write_toy_component(folder: Path) -> str:
    """Writes the component into ``folder``; returns the reference that names it."""
    folder.mkdir(parents=True)
    (folder / "twinkle-component.toml").write_text(MANIFEST, encoding="utf-8")
    (folder / "perplexity.py").write_text(SOURCE, encoding="utf-8")
    return f"file:{folder}#perplexity"
