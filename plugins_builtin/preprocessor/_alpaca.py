"""Instruction rows (Taori et al. 2023, Stanford Alpaca)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.types import Message, Trajectory
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor, text_of


@dataclass(frozen=True)
class AlpacaProcessor(Fingerprint, Preprocessor):
    """user = ``instruction``, and ``input`` on a line of its own where there is one; assistant = ``output``."""

    def preprocess(self, row: Mapping[str, Any]) -> Trajectory:
        """user and assistant."""
        question = text_of(row, "instruction", self)
        if row.get("input"):
            question += "\n" + text_of(row, "input", self)
        return Trajectory(
            messages=[Message(role="user", content=question), Message(role="assistant", content=text_of(row, "output", self))]
        )
