"""Templates over the tiny tokenizer and over Qwen's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qwen_tokenizer_folder import make_qwen_tokenizer

from twinkle.template import Template

MakeTemplate = Callable[..., Template]


@pytest.fixture
def tiny(tiny_tokenizer_folder: Path) -> MakeTemplate:
    """Makes a template over the tiny ChatML tokenizer, with the arguments given."""

    def make(**arguments: Any) -> Template:
        return Template(tiny_tokenizer_folder, **arguments)

    return make


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3's tokenizer with its chat template. Takes seconds: for slow tests."""
    return make_qwen_tokenizer(tmp_path_factory.mktemp("qwen_tokenizer"))
