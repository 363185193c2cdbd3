"""Answers with emojis in Chinese, preferred to plain English ones."""

from __future__ import annotations

from dataclasses import dataclass

from twinkle.plugins_builtin.preprocessor._preference import PreferenceProcessor


@dataclass(frozen=True)
class EmojiDPOProcessor(PreferenceProcessor):
    """:class:`PreferenceProcessor` with the columns of the data set ``shareAI-Llama3-DPO-zh-en-emoji``."""

    system: str | None = "You are a helpful assistant."
    chosen_key: str = "answer_zh"
    rejected_key: str = "answer_en"
    prompt_key: str | None = "prompt"
