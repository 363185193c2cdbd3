"""Pairs of answers of which one is preferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.errors import InvalidData
from twinkle.core.types import Message, Trajectory
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor


@dataclass(frozen=True)
class PreferenceProcessor(Fingerprint, Preprocessor):
    """``{"positive": trajectory, "negative": trajectory}``: the prompt followed by the preferred answer, and by the other one.

    Prompt and answers are texts or lists of messages; answers that repeat the prompt's messages at their beginning are whole conversations.
    """

    system: str | None = None
    """A system prompt for conversations without one."""
    chosen_key: str = "chosen"
    """The column of the preferred answer."""
    rejected_key: str = "rejected"
    """The column of the other one."""
    prompt_key: str | None = "prompt"
    """None where chosen and rejected are whole conversations."""

    def preprocess(self, row: Mapping[str, Any]) -> dict[str, Trajectory]:
        """Both conversations."""
        prompt = [] if self.prompt_key is None else self._messages(row, self.prompt_key, "user")
        sides = {"positive": self.chosen_key, "negative": self.rejected_key}
        return {side: self._conversation(row, prompt, key) for side, key in sides.items()}

    def _conversation(self, row: Mapping[str, Any], prompt: list[Message], key: str) -> Trajectory:
        answer = self._messages(row, key, "assistant")
        messages = answer if answer[: len(prompt)] == prompt else [*prompt, *answer]
        if self.system is not None and messages[0].get("role") != "system":
            messages = [Message(role="system", content=self.system), *messages]
        return Trajectory(messages=messages)

    def _messages(self, row: Mapping[str, Any], key: str, role: str) -> list[Message]:
        value = row.get(key)
        if isinstance(value, str):
            return [Message(role=role, content=value)]
        if isinstance(value, list) and value and all(isinstance(message, Mapping) and "role" in message for message in value):
            return value
        has = ", ".join(map(repr, row))
        got = f"got {value!r}" if key in row else f"the row has {has}"
        raise InvalidData(f"{type(self).__name__} needs a text or a list of messages in the column {key!r}; {got}")
