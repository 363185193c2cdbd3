"""Rows that teach a model its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.types import Message, Trajectory
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor, text_of


@dataclass(frozen=True)
class SelfCognitionProcessor(Fingerprint, Preprocessor):
    """``query`` and ``response`` with ``{{NAME}}`` and ``{{AUTHOR}}`` filled in, as system, user and assistant."""

    model_name: str
    """What stands in for ``{{NAME}}``."""
    model_author: str
    """What stands in for ``{{AUTHOR}}``."""
    system: str = "You are a helpful assistant."

    def preprocess(self, row: Mapping[str, Any]) -> Trajectory:
        """system, user, assistant."""
        return Trajectory(
            messages=[
                Message(role="system", content=self.system),
                Message(role="user", content=self._fill(text_of(row, "query", self))),
                Message(role="assistant", content=self._fill(text_of(row, "response", self))),
            ]
        )

    def _fill(self, text: str) -> str:
        return text.replace("{{NAME}}", self.model_name).replace("{{AUTHOR}}", self.model_author)
