"""Grade-school mathematics (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.errors import InvalidData
from twinkle.core.types import Message, Trajectory
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor, text_of

_SYSTEM = (
    "You solve mathematical problems step by step. Put your reasoning between <think> and </think>, "
    "and then write the final answer as a number after '#### '."
)
_ANSWER = re.compile(r"####\s*([^\n]+)")


@dataclass(frozen=True)
class GSM8KProcessor(Fingerprint, Preprocessor):
    """system, user = ``question``; ``user_data`` holds ``("ground_truth", number)``, the number after ``####`` without commas."""

    system: str | None = None
    """The system prompt; None asks for <think> tags and an answer after ####."""
    add_assistant: bool = False
    """Whether ``answer`` becomes the assistant's turn, as supervised training needs it."""

    def preprocess(self, row: Mapping[str, Any]) -> Trajectory:
        """system, user and, where asked for, assistant."""
        answer = text_of(row, "answer", self)
        numbers = _ANSWER.findall(answer)
        if not numbers:
            raise InvalidData(f"GSM8KProcessor needs '#### <number>' in the column 'answer', got {answer[-80:]!r}")
        messages = [
            Message(role="system", content=_SYSTEM if self.system is None else self.system),
            Message(role="user", content=text_of(row, "question", self)),
        ]
        if self.add_assistant:
            messages.append(Message(role="assistant", content=answer))
        return Trajectory(messages=messages, user_data=[("ground_truth", numbers[-1].replace(",", "").strip())])
