"""Each preprocessor's trajectory, by hand; what all of them share."""

from __future__ import annotations

from typing import Any

import pytest
from word_template import WordTemplate

import twinkle
from twinkle.core.errors import InvalidData
from twinkle.core.runtime.context import current
from twinkle.dataset import Dataset, DatasetMeta
from twinkle.preprocessor import (
    AlpacaProcessor,
    CompetitionMathGRPOProcessor,
    CompetitionMathProcessor,
    CountdownProcessor,
    EmojiDPOProcessor,
    PreferenceProcessor,
    Preprocessor,
)


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_alpaca_puts_the_input_on_a_line_of_its_own() -> None:
    row = {"instruction": "Add.", "input": "1 2", "output": "3"}
    assert AlpacaProcessor().preprocess(row)["messages"] == [message("user", "Add.\n1 2"), message("assistant", "3")]


@pytest.mark.parametrize("row", [{"instruction": "Hi", "output": "Ho"}, {"instruction": "Hi", "input": "", "output": "Ho"}])
def test_alpaca_without_input_is_the_instruction_alone(row: dict[str, str]) -> None:
    assert AlpacaProcessor().preprocess(row)["messages"] == [message("user", "Hi"), message("assistant", "Ho")]


MATH = {"problem": "1+1?", "solution": "\\boxed{2}"}


def test_competition_math_is_problem_and_solution() -> None:
    assert CompetitionMathProcessor().preprocess(MATH) == {"messages": [message("user", "1+1?"), message("assistant", "\\boxed{2}")]}


def test_competition_math_for_sampling_has_an_empty_turn_and_the_solution_beside_it() -> None:
    trajectory = CompetitionMathGRPOProcessor().preprocess(MATH)
    assert trajectory["messages"][1:] == [message("user", "1+1?"), message("assistant", "")]
    assert "\\boxed{}" in str(trajectory["messages"][0]["content"])
    assert trajectory["user_data"] == [("solution", "\\boxed{2}")]


@pytest.mark.parametrize("column", ["target", "response"])
def test_countdown_asks_for_the_target_from_the_numbers(column: str) -> None:
    trajectory = CountdownProcessor().preprocess({"nums": [3, 5, 7], column: 22})
    assert [turn["role"] for turn in trajectory["messages"]] == ["system", "user"]
    prompt = str(trajectory["messages"][1]["content"])
    assert all(part in prompt for part in ("[3, 5, 7]", "equals 22", "<think>", "<answer>"))
    assert trajectory["user_data"] == [{"target": 22, "nums": [3, 5, 7]}]


@pytest.mark.parametrize("row", [{"nums": [1]}, {"target": 3}, {"nums": [], "target": 3}])
def test_countdown_without_its_numbers_is_told(row: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match="CountdownProcessor needs numbers"):
        CountdownProcessor().preprocess(row)


def test_a_preference_is_the_prompt_with_either_answer() -> None:
    pair = PreferenceProcessor(system="S").preprocess({"prompt": "Q", "chosen": "good", "rejected": "bad"})
    assert pair == {
        "positive": {"messages": [message("system", "S"), message("user", "Q"), message("assistant", "good")]},
        "negative": {"messages": [message("system", "S"), message("user", "Q"), message("assistant", "bad")]},
    }


def test_a_preference_takes_messages_and_whole_conversations() -> None:
    prompt = [message("system", "S"), message("user", "Q")]
    good, bad = [message("assistant", "good")], [message("assistant", "bad")]
    expected = {"positive": {"messages": prompt + good}, "negative": {"messages": prompt + bad}}
    own = PreferenceProcessor(system="not this one")
    assert own.preprocess({"prompt": prompt, "chosen": good, "rejected": bad}) == expected
    assert own.preprocess({"prompt": prompt, "chosen": prompt + good, "rejected": prompt + bad}) == expected
    assert PreferenceProcessor(prompt_key=None).preprocess({"chosen": prompt + good, "rejected": prompt + bad}) == expected


def test_emoji_rows_prefer_the_chinese_answer() -> None:
    pair = EmojiDPOProcessor(prompt_key="question").preprocess({"question": "Q", "answer_zh": "好😀", "answer_en": "good"})
    assert pair["positive"]["messages"][2]["content"] == "好😀"
    assert pair["negative"]["messages"][2]["content"] == "good"


@pytest.mark.parametrize("answers", [{"chosen": "a"}, {"chosen": "a", "rejected": 3}, {"chosen": [], "rejected": "b"}])
def test_a_preference_without_an_answer_is_told(answers: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match=r"text or a list of messages in the column '(rejected|chosen)'"):
        PreferenceProcessor().preprocess({"prompt": "Q", **answers})


def test_pairs_go_through_a_data_set() -> None:
    dataset = Dataset(DatasetMeta(data=[{"prompt": "Q", "chosen": "very good", "rejected": "bad"}]))
    dataset.set_template(WordTemplate())
    dataset.map("preference")
    dataset.encode()
    assert dataset[0]["positive"]["input_ids"] == [1, 4, 4]
    assert dataset[0]["negative"]["input_ids"] == [1, 3]


def test_what_rewards_compare_with_survives_storage() -> None:
    dataset = Dataset(DatasetMeta(data=[{"nums": [1, 2], "target": 3, **MATH}]))
    dataset.map("countdown")
    assert dataset[0]["user_data"] == [{"target": 3, "nums": [1, 2]}]
    dataset.map("CompetitionMathGRPOProcessor")
    assert [tuple(pair) for pair in dataset[0]["user_data"]] == [("solution", "\\boxed{2}")]


def names() -> list[str]:
    from twinkle.plugins_builtin.preprocessor import COMPONENTS

    return sorted(COMPONENTS)


@pytest.mark.parametrize("name", names())
def test_every_preprocessor_resolves_by_both_names_and_can_be_kept(name: str) -> None:
    resolved = twinkle.resolve("preprocessor", name)
    assert resolved.cls is twinkle.resolve("preprocessor", resolved.cls.__name__).cls
    init = {"model_name": "a", "model_author": "b"} if name == "self_cognition" else {}
    built = twinkle.build("preprocessor", name, **init)
    assert isinstance(built, Preprocessor)
    assert built.fingerprint() == twinkle.build("preprocessor", name, **init).fingerprint() is not None
    assert name in {component.name for component in current().registry.components("preprocessor")}


def test_a_preprocessor_without_a_method_says_what_is_missing() -> None:
    class Empty(Preprocessor):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty must define preprocess\(row\)"):
        Empty()({"a": 1})
