"""Fixtures of the model tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import make_tiny
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest Qwen3, for tests that compare runs. Shared: read it only."""
    return make_tiny(tmp_path_factory.mktemp("smallest"))


@pytest.fixture
def norms_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen3's norms in the dtype of the model.

    They round to float32 inside whatever that dtype is; then a gradient that flows back undivided and one that flows back divided by the
    number of tokens differ by 6e-8.
    """

    def forward(self: Qwen3RMSNorm, hidden: torch.Tensor) -> torch.Tensor:
        return self.weight * hidden / (hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon).sqrt()

    monkeypatch.setattr(Qwen3RMSNorm, "forward", forward)
