"""Rows that teach a model its name."""

from __future__ import annotations

import pytest

from twinkle.core.errors import InvalidData
from twinkle.preprocessor import SelfCognitionProcessor


def test_name_and_author_are_filled_in_question_and_answer() -> None:
    row = {"query": "Are you {{NAME}}?", "response": "Yes, {{NAME}} by {{AUTHOR}}. {{NAME}}!", "tag": "x"}
    assert SelfCognitionProcessor("Twinkle", "Us").preprocess(row) == {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Are you Twinkle?"},
            {"role": "assistant", "content": "Yes, Twinkle by Us. Twinkle!"},
        ]
    }
    assert row["query"] == "Are you {{NAME}}?"


def test_a_batch_of_columns_gives_columns() -> None:
    columns = SelfCognitionProcessor(model_name="T", model_author="U")({"query": ["a", "b"], "response": ["{{NAME}}", "{{AUTHOR}}"]})
    assert [messages[2]["content"] for messages in columns["messages"]] == ["T", "U"]


def test_a_row_without_text_is_told() -> None:
    with pytest.raises(InvalidData, match="needs text in the column 'query', got NoneType"):
        SelfCognitionProcessor("T", "U")({"query": None, "response": "x"})
