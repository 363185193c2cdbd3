"""Grade-school problems and their numbers."""

from __future__ import annotations

import pytest

from twinkle.core.errors import InvalidData
from twinkle.preprocessor.llm import GSM8KProcessor

ROW = {"question": "How many?", "answer": "1,000 + 234 = 1,234\n#### 1,234"}


def test_the_number_after_the_hashes_is_the_ground_truth() -> None:
    trajectory = GSM8KProcessor().preprocess(ROW)
    assert trajectory["user_data"] == [("ground_truth", "1234")]
    assert [message["role"] for message in trajectory["messages"]] == ["system", "user"]
    assert trajectory["messages"][1]["content"] == "How many?"
    assert "<think>" in str(trajectory["messages"][0]["content"])
    assert "####" in str(trajectory["messages"][0]["content"])


def test_system_prompt_and_answer_can_be_chosen() -> None:
    trajectory = GSM8KProcessor(system="Be brief.", add_assistant=True).preprocess(ROW)
    assert [message["content"] for message in trajectory["messages"]] == ["Be brief.", "How many?", ROW["answer"]]


def test_the_last_of_several_answers_counts() -> None:
    trajectory = GSM8KProcessor().preprocess({"question": "?", "answer": "#### 1\nNo, wait.\n####  2 "})
    assert trajectory["user_data"] == [("ground_truth", "2")]


def test_an_answer_without_a_number_is_told() -> None:
    with pytest.raises(InvalidData, match="#### <number>"):
        GSM8KProcessor().preprocess({"question": "?", "answer": "no idea"})
