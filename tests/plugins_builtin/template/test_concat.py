"""A prompt continued by generated tokens."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from twinkle.core.errors import InvalidData
from twinkle.template import Template

PROMPT: Any = {"messages": [{"role": "user", "content": "Who?"}], "user_data": [["k", "1"]], "raw": {"deep": [1]}}


def continued(template: Template, text: str, prompt: Any = None) -> tuple[Any, Any, list[int]]:
    feature = template.encode(PROMPT if prompt is None else prompt, add_generation_prompt=True)
    tokens = template.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return feature, template.concat_input_feature(feature, tokens), tokens


def test_exactly_the_new_tokens_are_labels_from_the_prompts_last_position_on(tiny: Callable[..., Template]) -> None:
    feature, whole, tokens = continued(tiny(), "I am 🎉.<|im_end|>")
    n, k = feature["length"], len(tokens)
    assert whole["input_ids"] == feature["input_ids"] + tokens
    assert whole["labels"] == [-100] * (n - 1) + tokens + [-100]
    assert [i for i, label in enumerate(whole["labels"]) if label != -100] == list(range(n - 1, n - 1 + k))
    assert whole["attention_mask"] == [1] * (n + k)
    assert whole["position_ids"] == list(range(n + k))
    assert whole["length"] == n + k


def test_the_answer_is_appended_and_everything_else_survives_as_a_copy(tiny: Callable[..., Template]) -> None:
    template = tiny()
    feature, whole, _ = continued(template, "I am.<|im_end|>")
    before = copy.deepcopy(feature)
    assert whole["messages"] == [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I am."}]
    assert (whole["user_data"], whole["raw"]) == ([["k", "1"]], {"deep": [1]})
    whole["raw"]["deep"].append(2)
    whole["messages"][0]["content"] = "x"
    assert feature == before


def test_a_finished_conversation_encodes_to_the_continued_one(tiny: Callable[..., Template]) -> None:
    template = tiny()
    _, whole, _ = continued(template, "I am.<|im_end|>\n")
    again = template.encode({"messages": [*PROMPT["messages"], {"role": "assistant", "content": "I am."}]})  # type: ignore[typeddict-item]
    assert (whole["input_ids"], whole["labels"]) == (again["input_ids"], again["labels"])


def test_labels_of_earlier_turns_are_kept(tiny: Callable[..., Template]) -> None:
    template = tiny()
    _, first, first_tokens = continued(template, "I am.<|im_end|>\n")
    bridge = template.tokenizer.backend_tokenizer.encode("<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n").ids
    second_prompt: Any = {
        "input_ids": first["input_ids"] + bridge,
        "labels": first["labels"] + [-100] * len(bridge),
        "messages": [*first["messages"], {"role": "user", "content": "What?"}],
    }
    second = template.concat_input_feature(second_prompt, [7, 8])
    trained = [label for label in second["labels"] if label != -100]
    assert trained == [*first_tokens, 7, 8]
    assert all(label in (-100, following) for label, following in zip(second["labels"], second["input_ids"][1:], strict=False))
    assert len(second["messages"]) == 4


@pytest.mark.parametrize("convert", [np.array, torch.tensor])
def test_arrays_and_tensors_are_taken(convert: Callable[[list[int]], Any], tiny: Callable[..., Template]) -> None:
    template = tiny()
    feature, expected, tokens = continued(template, "I am.")
    given: Any = {**feature, **{key: convert(feature[key]) for key in ("input_ids", "labels", "attention_mask", "position_ids")}}
    assert template.concat_input_feature(given, convert(tokens)) == expected


def test_a_prompt_of_ids_alone_will_do(tiny: Callable[..., Template]) -> None:
    whole = tiny().concat_input_feature({"input_ids": [1, 2, 3], "completion_mask": [0, 0, 0]}, [4, 5])
    assert whole["labels"] == [-100, -100, 4, 5, -100]
    assert whole["completion_mask"] == [0, 0, 0, 1, 1]
    assert "messages" not in whole


def test_tool_calls_are_parsed_and_encode_again(tiny: Callable[..., Template]) -> None:
    calls = "".join(
        f'\n<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>' for city in ("巴黎", "Rome")
    )
    template = tiny()
    _, whole, _ = continued(template, f"Let me see.{calls}<|im_end|>\n")
    turn = whole["messages"][-1]
    assert turn["content"] == "Let me see."
    assert [call["function"]["name"] for call in turn["tool_calls"]] == ["get_weather"] * 2
    assert [json.loads(call["function"]["arguments"]) for call in turn["tool_calls"]] == [{"city": "巴黎"}, {"city": "Rome"}]
    assert template.encode({"messages": whole["messages"]})["input_ids"] == whole["input_ids"]


@pytest.mark.parametrize(
    "text", ["<tool_call>{broken</tool_call>", '<tool_call>{"arguments": {}}</tool_call>', "<tool_call>{oops}</tool_call>"]
)
def test_a_malformed_call_stays_text(text: str, tiny: Callable[..., Template]) -> None:
    _, whole, _ = continued(tiny(), text)
    assert whole["messages"][-1] == {"role": "assistant", "content": text}


def test_an_empty_answer_in_the_prompt_is_replaced(tiny: Callable[..., Template]) -> None:
    prompt: Any = {"messages": [*PROMPT["messages"], {"role": "assistant", "content": ""}]}
    _, whole, _ = continued(tiny(), "I am.", prompt)
    assert [message["role"] for message in whole["messages"]] == ["user", "assistant"]
    assert whole["messages"][-1]["content"] == "I am."


def test_nothing_is_truncated(tiny: Callable[..., Template]) -> None:
    feature, whole, tokens = continued(tiny(max_length=15, truncation_strategy="left"), "a " * 30)
    assert whole["length"] == feature["length"] + len(tokens) > 15


def test_a_prompt_without_tokens_is_refused(tiny: Callable[..., Template]) -> None:
    with pytest.raises(InvalidData, match="the prompt has no tokens"):
        tiny().concat_input_feature({"input_ids": []}, [4, 5])
