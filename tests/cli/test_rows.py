"""The rows that the demo trains on."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from twinkle.cli.demo import QUESTIONS, ROWS


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def test_there_are_120_rows_or_more_half_of_them_chinese(rows: list[dict[str, str]]) -> None:
    languages = Counter(row["tag"] for row in rows)
    assert set(languages) == {"en", "zh"}
    assert min(languages.values()) >= 60


def test_every_row_has_three_text_fields_and_a_placeholder_in_its_answer(rows: list[dict[str, str]]) -> None:
    for row in rows:
        assert list(row) == ["query", "response", "tag"]
        assert "{{NAME}}" in row["response"] or "{{AUTHOR}}" in row["response"], row
        assert not (row["query"] + row["response"]).replace("{{NAME}}", "").replace("{{AUTHOR}}", "").count("{"), row


def test_the_tag_is_the_language_of_the_row(rows: list[dict[str, str]]) -> None:
    for row in rows:
        is_chinese = any("\u4e00" <= c <= "\u9fff" for c in row["query"] + row["response"])
        assert is_chinese == (row["tag"] == "zh"), row


def test_no_question_comes_twice_and_both_of_the_demo_are_there(rows: list[dict[str, str]]) -> None:
    questions = [row["query"] for row in rows]
    assert len(set(questions)) == len(questions)
    assert set(QUESTIONS) <= set(questions)
    for row in rows:
        if row["query"] in QUESTIONS:
            assert "{{NAME}}" in row["response"] and "{{AUTHOR}}" in row["response"]
