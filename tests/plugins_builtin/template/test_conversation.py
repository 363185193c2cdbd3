"""Messages and tools of every form become one; what cannot be a conversation is refused with its place and a cure."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pyarrow
import pytest

from twinkle.core.errors import InvalidArgument, InvalidConfig, InvalidData
from twinkle.plugins_builtin.template._conversation import normal_messages, normal_tools
from twinkle.template import Template

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL_FORMS: dict[str, Any] = {
    "0.1": [{"tool_name": "f", "description": "d", "parameters": json.dumps(SCHEMA)}],
    "0.4, which is OpenAI's": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
    "flat": [{"type": "function", "name": "f", "description": "d", "parameters": SCHEMA}],
    "all of it as text": json.dumps([{"tool_name": "f", "description": "d", "parameters": SCHEMA}]),
    "each as text": [json.dumps({"tool_name": "f", "description": "d", "parameters": SCHEMA})],
    "with Arrow's absent keys": [
        {"type": "function", "tool_name": None, "function": {"name": "f", "description": "d", "parameters": {**SCHEMA, "required": None}}}
    ],
}


@pytest.mark.parametrize("form", TOOL_FORMS)
def test_tools_of_every_form_become_nested_schemas(form: str) -> None:
    tools = TOOL_FORMS[form]
    before = copy.deepcopy(tools)
    assert normal_tools(tools) == [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}]
    assert tools == before


@pytest.mark.parametrize("none", [None, [], "", "[]"])
def test_no_tools_are_no_tools(none: Any) -> None:
    assert normal_tools(none) is None


CALL_FORMS: dict[str, Any] = {
    "0.1": [{"tool_name": "f", "arguments": '{"x": [1, null]}'}],
    "0.4, which is OpenAI's": [{"type": "function", "function": {"name": "f", "arguments": '{"x": [1, null]}'}}],
    "objects": [{"function": {"name": "f", "arguments": {"x": [1, None]}}}],
    "flat": [{"name": "f", "arguments": {"x": [1, None]}}],
    "text": json.dumps([{"name": "f", "arguments": {"x": [1, None]}}]),
    "with Arrow's absent keys": [{"tool_name": None, "id": None, "function": {"name": "f", "arguments": {"x": [1, None], "y": None}}}],
}


@pytest.mark.parametrize("form", CALL_FORMS)
def test_calls_of_every_form_become_nested_with_objects_as_arguments(form: str) -> None:
    calls = CALL_FORMS[form]
    before = copy.deepcopy(calls)
    message = normal_messages([{"role": "assistant", "content": None, "tool_calls": calls}])[0]
    assert message["tool_calls"] == [{"type": "function", "function": {"name": "f", "arguments": {"x": [1, None]}}}]
    assert message["content"] == ""
    assert calls == before


def test_a_call_keeps_its_id_and_may_have_no_arguments() -> None:
    message = normal_messages([{"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f"}}]}])[0]
    assert message["tool_calls"] == [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {}}}]


def test_rows_that_went_through_arrow_encode_as_before(tiny: Callable[..., Template]) -> None:
    rows: Any = [
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I", "reasoning_content": "t"}], "tools": None},
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
                },
                {"role": "tool", "content": "sunny", "tool_call_id": "c"},
            ],
            "tools": TOOL_FORMS["0.4, which is OpenAI's"],
        },
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"y": 2}}}]},
            ]
        },
    ]
    stored = pyarrow.Table.from_pylist([{"tools": None, **row} for row in rows]).to_pylist()
    assert None in stored[0]["messages"][0].values()
    template = tiny()
    for row, back in zip(rows, stored, strict=True):
        assert template.encode(back)["input_ids"] == template.encode(row)["input_ids"]


BAD_MESSAGES: list[tuple[Any, str]] = [
    ([], "'messages' is empty"),
    ("Hi", "'messages' must be a list"),
    (7, "'messages' must be a list"),
    (["Hi"], r"messages\[0\] must be a mapping"),
    ([{"content": "Hi"}], r"messages\[0\] has the role None: expected one of system, "),
    ([{"role": "user", "content": "a"}, {"role": "asistant", "content": "b"}], r"messages\[1\] .*Did you mean 'assistant'\?"),
    ([{"role": "human", "content": "a"}], r"'human' is called 'user' here"),
    ([{"role": "user", "content": 7}], r"messages\[0\]\.content must be text.*got 7"),
    ([{"role": "user"}], r"messages\[0\]\.content must be text.*got None"),
    ([{"role": "assistant"}], r"messages\[0\]\.content must be text"),
    ([{"role": "user", "content": [{"type": "image", "image": "x.png"}]}], r"messages\[0\]\.content must be text"),
    ([{"role": "user", "content": "a", "images": ["x.png"]}], r"messages\[0\] has images: this template takes text alone"),
    ([{"role": "assistant", "content": "", "reasoning_content": 7}], "reasoning_content must be text"),
    ([{"role": "assistant", "content": "", "tool_calls": 7}], "tool_calls must be a list, got 7"),
    ([{"role": "assistant", "content": "", "tool_calls": [7]}], "tool_calls must be a mapping, got 7"),
    ([{"role": "assistant", "content": "", "tool_calls": [{"arguments": {}}]}], "needs a 'tool_name'"),
    ([{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": "{x"}]}], r"'f'\.arguments is text that is no JSON"),
]


@pytest.mark.parametrize(("messages", "why"), BAD_MESSAGES)
def test_a_broken_conversation_is_refused_by_place(messages: Any, why: str, tiny: Callable[..., Template]) -> None:
    row: Any = {"messages": messages}
    with pytest.raises(InvalidData, match=why):
        tiny().encode(row)


def test_an_error_names_the_row_of_the_batch(tiny: Callable[..., Template]) -> None:
    rows: Any = [{"messages": [{"role": "user", "content": "fine"}]}, {"messages": [{"role": "user", "content": "Who?"}, {"role": "x"}]}]
    with pytest.raises(InvalidData, match=r"^row 1 of this batch of 2 \('Who\?'\): messages\[1\] has the role 'x'"):
        tiny().batch_encode(rows)
    with pytest.raises(InvalidData, match=r"^this row \('Who\?'\): "):
        tiny().encode(rows[1])


def test_media_of_a_row_are_refused(tiny: Callable[..., Template]) -> None:
    row: Any = {"messages": [{"role": "user", "content": "a"}], "videos": ["x.mp4"]}
    with pytest.raises(InvalidData, match="the row has videos"):
        tiny().encode(row)


def test_tools_that_are_no_list_are_refused() -> None:
    with pytest.raises(InvalidData, match="'tools' must be a list"):
        normal_tools({"tool_name": "f"})
    with pytest.raises(InvalidData, match=r"tools\[0\] needs a 'tool_name'"):
        normal_tools([{"description": "d"}])


def test_a_tokenizer_without_a_chat_template_says_how_to_give_one(tmp_path: Any) -> None:
    from tiny_model import CHATML_TEMPLATE, make_tokenizer

    row: Any = {"messages": [{"role": "user", "content": "Hi"}]}
    bare = make_tokenizer(tmp_path, chat_template=None)
    with pytest.raises(InvalidConfig, match=r"chat_template\.jinja .*chat_template=.*use_chat_template=False"):
        Template(bare).encode(row)
    assert Template(bare, chat_template=CHATML_TEMPLATE).encode(row)["length"] > 0


def test_arguments_that_no_tokenizer_takes_are_refused(tiny: Callable[..., Template]) -> None:
    with pytest.raises(InvalidArgument, match=r"'max_lenght'.*Did you mean 'max_length'"):
        tiny(max_lenght=5)
    with pytest.raises(InvalidArgument, match="never runs code"):
        tiny(trust_remote_code=True)
    assert tiny(trust_remote_code=False, padding_side="left").tokenizer.padding_side == "left"


def test_code_beside_a_tokenizer_is_not_run(tmp_path: Any) -> None:
    config = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(InvalidConfig, match="no tokenizer that can be loaded from its files alone"):
        Template(tmp_path)


def test_a_tokenizer_without_offsets_is_refused(tmp_path: Any) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    row: Any = {"messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(InvalidConfig, match=r"gives no character offsets.*fast tokenizer"):
        Template(tmp_path, chat_template="{{ messages[0].content }}").encode(row)
    with pytest.raises(InvalidConfig, match="a fast tokenizer is needed"):
        Template(tmp_path, use_chat_template=False).encode(row)
