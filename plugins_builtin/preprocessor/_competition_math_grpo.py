"""Competition mathematics as prompts for sampling (Hendrycks et al. 2021, arXiv 2103.03874)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.types import Message, Trajectory
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor, text_of

_SYSTEM = "You solve mathematical problems. Answer with nothing but the final result, written inside \\boxed{}."


@dataclass(frozen=True)
class CompetitionMathGRPOProcessor(Fingerprint, Preprocessor):
    """system, user = ``problem``, an empty turn of the assistant; ``user_data`` holds ``("solution", solution)``."""

    system: str = _SYSTEM

    def preprocess(self, row: Mapping[str, Any]) -> Trajectory:
        """system, user and the assistant's turn that is to be sampled."""
        return Trajectory(
            messages=[
                Message(role="system", content=self.system),
                Message(role="user", content=text_of(row, "problem", self)),
                Message(role="assistant", content=""),
            ],
            user_data=[("solution", text_of(row, "solution", self))],
        )
