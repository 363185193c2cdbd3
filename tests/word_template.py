"""A template whose tokens are words, so that a test can count and compare by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinkle.core.errors import InvalidData


class WordTemplate:
    """One token a word: its length. ``refuse`` in a text raises, ``drop`` deletes the row, ``twice`` makes two features of it."""

    def __init__(self, max_length: int = 2048, keep_columns: bool = True) -> None:
        self.max_length = max_length
        self.keep_columns = keep_columns
        self.calls: list[int] = []
        self.encoded: list[str] = []

    def batch_encode(self, trajectories: Sequence[Any], add_generation_prompt: bool = False) -> list[Any]:
        self.calls.append(len(trajectories))
        features = []
        for row in trajectories:
            if "messages" in row:
                features += [{**(row if self.keep_columns else {}), **feature} for feature in self._features(row, add_generation_prompt)]
                continue
            sides = {side: self._features(row[side], add_generation_prompt) for side in ("positive", "negative")}
            if all(sides.values()):
                features.append({**row, **{side: {**row[side], **found[0]} for side, found in sides.items()}})
        return features

    def _features(self, trajectory: Any, add_generation_prompt: bool) -> list[dict[str, Any]]:
        text = " ".join(message["content"] for message in trajectory["messages"])
        if "refuse" in text:
            raise InvalidData(f"{text!r} is refused")
        self.encoded.append(text)
        ids = [len(word) for word in text.split()] + ([99] if add_generation_prompt else [])
        feature = {"input_ids": ids, "labels": [*ids[1:], -100], "position_ids": list(range(len(ids))), "length": len(ids)}
        return [feature] * (0 if "drop" in text else 2 if "twice" in text else 1)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return " ".join("x" * token for token in token_ids)

    def concat_input_feature(self, prompt: Any, new_tokens: Sequence[int]) -> Any:
        raise NotImplementedError


def conversation(text: str) -> dict[str, Any]:
    """A row of one message."""
    return {"messages": [{"role": "user", "content": text}]}
