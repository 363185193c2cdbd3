"""The countdown game: reach a number from given ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.errors import InvalidData
from twinkle.core.types import Message, Trajectory
from twinkle.plugins_builtin.preprocessor._fingerprint import Fingerprint
from twinkle.plugins_builtin.preprocessor._preprocessor import Preprocessor

_SYSTEM = "You are a helpful assistant. You first think about the reasoning process and then give the user the answer."


@dataclass(frozen=True)
class CountdownProcessor(Fingerprint, Preprocessor):
    """system and user prompt from ``nums`` and ``target`` (or ``response``); ``user_data`` is ``[{"target": ..., "nums": ...}]``."""

    system: str = _SYSTEM

    def preprocess(self, row: Mapping[str, Any]) -> Trajectory:
        """system and user."""
        target = row.get("target", row.get("response"))
        nums = row.get("nums")
        if target is None or not isinstance(nums, list) or not nums:
            has = ", ".join(map(repr, row))
            raise InvalidData(f"CountdownProcessor needs numbers in the column 'nums' and 'target' (or 'response'); the row has {has}")
        prompt = (
            f"Using the numbers {nums}, make an equation that equals {target}. You can use the operations +, -, * and /, and each number "
            "at most once. Show your work between <think> and </think>, and give the final equation between <answer> and </answer>, "
            "for example <answer> (1 + 2) / 3 * 4 </answer>."
        )
        return Trajectory(
            messages=[Message(role="system", content=self.system), Message(role="user", content=prompt)],
            user_data=[{"target": target, "nums": nums}],
        )
