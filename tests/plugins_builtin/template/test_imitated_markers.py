"""Conversations that imitate markers: trained is what the assistant says, by hand and by the template's own generation tags."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen_tokenizer_folder import QWEN3_TEMPLATE

from twinkle.plugins_builtin.template import _chat_format
from twinkle.plugins_builtin.template._chat_format import ChatFormat

MISTRAL = """\
{{- bos_token }}
{%- if tools %}{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{ '[INST] ' + message.content + '[/INST]' }}
    {%- elif message.role == 'assistant' %}[GENERATION]{{ ' ' + message.content + eos_token }}[END]
    {%- else %}{{ '[TOOL_RESULTS]' + message.content + '[/TOOL_RESULTS]' }}{% endif %}
{%- endfor %}"""
"""Without a header between a tool's result and the answer."""

NO_OPENER = MISTRAL.replace("'[INST] '", "'<s>[INST] '").replace("[TOOL_RESULTS]", "result: ").replace("[/TOOL_RESULTS]", ". ")
"""Where a user's turn and an answer begin differently, so that a span may run over both."""

CHATML = """\
{%- for tool in tools or [] %}{{ (tool | tojson) + '\\n' }}{% endfor %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}[GENERATION]
        {%- if message.thinking %}{{ '<think>' + message.thinking + '</think>' }}{% endif %}
        {{- message.content }}
        {%- for call in message.tool_calls or [] %}{{ '\\n<tool_call>\\n' + (call.function | tojson) + '\\n</tool_call>' }}{% endfor %}
        {{- '<|im_end|>\\n' }}[END]
    {%- else %}{{ message.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {%- if message.role == 'assistant' %}[GENERATION]
        {{- message.content | trim }}
        {%- for call in message.tool_calls or [] %}
            {{- '{"name": "' + call.function.name + '", "parameters": ' + (call.function.arguments | tojson) + '}' }}
        {%- endfor %}
        {{- '<|eot_id|>' }}[END]
    {%- else %}{{ message.content | trim + '<|eot_id|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

DOUBLED = """\
{%- for message in messages %}
    {{- '##' + message.role + '## ' }}
    {%- if message.role == 'assistant' %}[GENERATION]{{ message.content + '\\n\\n' }}[END]
    {%- else %}{{ message.content + '\\n\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '##assistant## ' }}{% endif %}"""
"""With markers that end as they begin."""

BITS = {
    NO_OPENER: ("[INST] ", "[/INST]", "</s>", "<s>", "result: "),
    MISTRAL: ("[INST] ", "[/INST]", "[/INST] ", "</s>", "</s", "[TOOL_RESULTS]", "<s>"),
    CHATML: ("<|im_start|>", "<|im_end|>", "<|im_start|>assistant\n", "<|im_start|>assistant", "<|im_end|>\n", "<|im_", "</think>"),
    LLAMA3: ("<|start_header_id|>", "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", "<|eot", "<|end_header_id|>"),
    DOUBLED: ("\n", "\n\n", "#", "##", "##assistant## ", "##assistant##", "assistant## "),
}
FAMILIES = {
    "mistral": MISTRAL,
    "without an opener": NO_OPENER,
    "chatml": CHATML,
    "llama-3": LLAMA3,
    "markers that end as they begin": DOUBLED,
}


def plain(source: str) -> ChatFormat:
    """The template as it is published, without tags."""
    return ChatFormat(source.replace("[GENERATION]", "").replace("[END]", ""), {"bos_token": "<s>", "eos_token": "</s>"})


def tagged(source: str) -> ChatFormat:
    """The template that says itself what is trained."""
    tags = source.replace("[GENERATION]", "{% generation %}").replace("[END]", "{% endgeneration %}")
    return ChatFormat(tags, {"bos_token": "<s>", "eos_token": "</s>"})


def said(*turns: tuple[str, str], **last: Any) -> list[dict[str, Any]]:
    """``(role, content)`` each; ``last`` are further fields of the last."""
    messages: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in turns]
    messages[-1].update(last)
    return messages


def call(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", "arguments": arguments}}]


def trained(source: str, messages: list[dict[str, Any]]) -> list[str]:
    text, spans = plain(source).render_turns(messages)
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize("page", ["page [/INST] the answer </s> more", "[/INST] the answer </s>", "[/INST]", "</s>"])
def test_a_tools_result_is_not_trained_where_its_markers_make_the_count_fit(page: str) -> None:
    messages = said(("user", "who"), ("assistant", "wait"), ("tool", page), ("assistant", "the answer"))
    assert trained(MISTRAL, messages) == [" wait</s>", " the answer</s>"]
    assert trained(NO_OPENER, messages) == [" wait</s>", " the answer</s>"]


@pytest.mark.parametrize("role", ["tool", "system"])
def test_what_others_say_between_a_question_and_its_answer_is_not_trained(role: str) -> None:
    messages = said(("user", "who"), (role, "a page"), ("assistant", "the answer"))
    assert trained(NO_OPENER, messages) == trained(MISTRAL, messages) == [" the answer</s>"]


def test_a_second_answer_without_a_header_is_not_taken_for_an_imitated_one() -> None:
    messages = said(("user", "who"), ("assistant", "I"), ("assistant", "we"), ("user", "x [/INST] we </s> y"), ("assistant", "they"))
    assert trained(MISTRAL, messages) == [" I</s>", " we</s>", " they</s>"]


def test_an_end_that_the_template_completes_does_not_cut_an_answer() -> None:
    messages = said(("user", "hi"), ("assistant", ""), thinking="I write <|im_end|>", tool_calls=call({"city": "Paris"}))
    ending = '\n<tool_call>\n{"name": "f", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>\n'
    assert trained(CHATML, messages) == [f"<think>I write <|im_end|></think>{ending}"]
    completes = CHATML.replace("'</think>'", "'\\n</think>\\n'")
    assert trained(completes, messages) == [f"<think>I write <|im_end|>\n</think>\n{ending}"]
    calls = said(("user", "hi"), ("assistant", "Let me look.<|im_end|>"), tool_calls=call({"city": "Paris"}))
    assert trained(CHATML, calls) == [f"Let me look.<|im_end|>{ending}"]


def test_a_key_of_the_arguments_does_not_cut_an_answer() -> None:
    messages = said(("user", "count"), ("assistant", ""), tool_calls=call({"<|eot_id|>": 3, "b": [{"<|eot_id|>": "c"}]}))
    assert trained(LLAMA3, messages) == ['{"name": "f", "parameters": {"<|eot_id|>": 3, "b": [{"<|eot_id|>": "c"}]}}<|eot_id|>']


def test_another_field_that_the_template_prints_does_not_cut_an_answer() -> None:
    messages = said(("user", "hi"), ("assistant", "yes"), thinking="it ends with <|im_end|>\nyes")
    assert trained(CHATML, messages) == ["<think>it ends with <|im_end|>\nyes</think>yes<|im_end|>\n"]


def test_a_tools_description_is_not_trained_where_its_markers_make_the_count_fit() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"[/INST]": {"type": "object"}}}}
    messages = said(("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d"))
    for source in (MISTRAL, NO_OPENER):
        text, spans = plain(source).render_turns(messages, [tool])
        assert [text[start:end] for start, end in spans] == [" b</s>", " d</s>"]
    earlier = said(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))  # one that prefixes do not tell
    text, spans = plain("{{ messages | length }}" + MISTRAL).render_turns(earlier, [tool])
    assert [text[start:end] for start, end in spans] == [" b</s>", " d</s>"]


def test_private_characters_do_not_keep_a_marker_from_being_disguised() -> None:
    last_thought = QWEN3_TEMPLATE.read_text(encoding="utf-8")  # with which prefixes tell nothing
    messages = said(("user", "a"), ("assistant", "\ue000 <|im_end|>"), ("user", "\ue001"), ("assistant", "d"))
    assert trained(last_thought, messages) == ["\ue000 <|im_end|><|im_end|>\n", "<think>\n\n</think>\n\nd<|im_end|>\n"]


def test_a_marker_that_ends_as_it_begins_is_found_at_its_end() -> None:
    assert trained(DOUBLED, said(("user", "a"), ("assistant", "b\n"))) == ["b\n\n\n"]


def test_markers_that_the_template_reads_are_rendered_as_they_are() -> None:
    refuses = "{% if '<|eot_id|>' not in messages[0].content %}{{ raise_exception('no end') }}{% endif %}" + LLAMA3
    probed = plain(refuses)
    vars(probed)["markers"] = plain(LLAMA3).markers  # which are the same, but that it refuses the words of a probe
    text, spans = probed.render_turns(said(("user", "a<|eot_id|>"), ("assistant", "b")))
    assert [text[start:end] for start, end in spans] == ["b<|eot_id|>"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_without_markers_is_rendered_once(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chat_format = plain(FAMILIES[family])
    messages = said(("user", "a < b | [c]"), ("assistant", "d (e)"), ("user", "f"), ("assistant", "g"), name="i", thinking="</j>")
    chat_format.render_turns(messages)
    renderings: list[int] = []
    real = _chat_format.render_jinja_template
    monkeypatch.setattr(_chat_format, "render_jinja_template", lambda **arguments: renderings.append(1) or real(**arguments))
    chat_format.render_turns(messages)
    assert len(renderings) == 1


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60)
@given(data=st.data())
def test_trained_is_what_generation_tags_enclose(family: str, data: st.DataObject) -> None:
    source = FAMILIES[family]
    text = st.lists(st.sampled_from([*BITS[source], "a", "b ", "\n", "\ue000", "é"]), max_size=4).map("".join)
    calls = st.dictionaries(text, text | st.lists(text, max_size=1), max_size=2).map(call)
    fields = st.fixed_dictionaries({"content": text}, optional={"thinking": text, "tool_calls": calls})
    answers = fields.map(lambda more: {"role": "assistant", **more})
    others = st.builds(lambda role, content: {"role": role, "content": content}, st.sampled_from(["system", "user", "tool"]), text)
    messages = data.draw(st.lists(others | answers, min_size=1, max_size=6))
    assert plain(source).render_turns(messages) == tagged(source).render_turns(messages)
