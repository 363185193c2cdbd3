"""Competition mathematics with worked solutions (Hendrycks et al. 2021, arXiv 2103.03874)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.types import Message, Trajectory
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor, text_of


@dataclass(frozen=True)
class CompetitionMathProcessor(Fingerprint, Preprocessor):
    """user = ``problem``, assistant = ``solution``."""

    def preprocess(self, row: Mapping[str, Any]) -> Trajectory:
        """user and assistant."""
        return Trajectory(
            messages=[
                Message(role="user", content=text_of(row, "problem", self)),
                Message(role="assistant", content=text_of(row, "solution", self)),
            ]
        )
