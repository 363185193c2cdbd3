"""One chat template: renders conversations, says what the assistant's part of them is, and what the template can express."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Literal

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

from twinkle.core.errors import InvalidData
from twinkle.plugins_builtin.template._assistant_span import (
    Disguise,
    Messages,
    TurnMarkers,
    is_imitated,
    needles,
    prefix_turns,
    probe_markers,
    scan_turns,
)
from twinkle.plugins_builtin.template._conversation import Conversation, join_reasoning, split_reasoning
from twinkle.plugins_builtin.template._label import Span

Tools = list[dict[str, Any]] | None

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_WORD = "twinkleprobe"


class ChatFormat:
    """A chat template and its variables. What it cannot render it refuses: nothing of a conversation is lost silently."""

    def __init__(self, source: str, variables: Mapping[str, Any]) -> None:
        self.source = source
        self.variables = dict(variables)
        self.tracks_generation = _GENERATION.search(source) is not None

    def render(self, messages: Messages, tools: Tools = None, add_generation_prompt: bool = False) -> str:
        """The text of a conversation.

        Raises:
            InvalidData: the template refuses it.
        """
        return self._render(messages, tools, add_generation_prompt, track=False)[0]

    def render_turns(self, messages: Messages, tools: Tools = None) -> tuple[str, list[Span]]:
        """The text of a conversation and the spans of it that are trained, from one rendering unless a message imitates a marker.

        Raises:
            InvalidData: the template refuses the conversation, or its assistant turns cannot be told from the rest.
        """
        if self.tracks_generation:
            return self._render(messages, tools, False, track=True)
        text = self.render(messages, tools)
        spans = None
        if self.markers is not None:
            if not is_imitated(self._needles, messages, tools):
                spans = scan_turns(text, messages, self.markers)
            if spans is None:
                spans = self._scan_disguised(text, messages, tools, self.markers)
        if spans is None:
            spans = prefix_turns(partial(self._render_text, tools=tools), text, messages, self.markers)
        return text, spans

    def _scan_disguised(self, text: str, messages: Messages, tools: Tools, markers: TurnMarkers) -> list[Span] | None:
        disguise = Disguise(markers, text)
        disguised_messages = disguise.of_messages(messages)
        try:
            disguised = self.render(disguised_messages, disguise.of(tools))
        except InvalidData:  # the true words are rendered: the template reads what the disguise changed
            return None
        return scan_turns(disguised, disguised_messages, markers) if disguise.hides(disguised) else None

    def _render_text(self, messages: Messages, add_generation_prompt: bool, tools: Tools = None) -> str:
        return self.render(messages, tools, add_generation_prompt)

    def _render(self, messages: Messages, tools: Tools, add_generation_prompt: bool, track: bool) -> tuple[str, list[Span]]:
        try:
            texts, spans = render_jinja_template(
                conversations=[messages],
                tools=tools,
                chat_template=self.source,
                return_assistant_tokens_mask=track,
                add_generation_prompt=add_generation_prompt,
                **self.variables,
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise InvalidData(f"the chat template refuses this conversation: {error}") from error
        return texts[0], spans[0] if track else []

    @cached_property
    def markers(self) -> TurnMarkers | None:
        """The fixed strings around an assistant's turn; None where the template has none."""
        return probe_markers(self._render_text, [value for value in self.variables.values() if isinstance(value, str) and value])

    @cached_property
    def _needles(self) -> tuple[str, str]:
        assert self.markers is not None
        return needles(self.markers)

    def fit(self, messages: Conversation, tools: Tools) -> None:
        """Brings ``messages`` in place into what this template expresses.

        Raises:
            InvalidData: it has no place for tools or tool calls, and they would be lost.
        """
        for message in messages:
            if message["role"] != "assistant":
                continue
            if "reasoning_content" in message or "</think>" in message["content"]:
                (split_reasoning if self.renders_reasoning else join_reasoning)(message)
            for call in message.get("tool_calls", ()):
                if self.call_arguments is None:
                    raise InvalidData(f"this chat template has no place for tool calls. {_OTHER_TEMPLATE}")
                if self.call_arguments == "text":
                    function = call["function"]
                    function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
        if tools and not self.renders_tools:
            raise InvalidData(f"this chat template has no place for tools. {_OTHER_TEMPLATE}")

    @cached_property
    def renders_reasoning(self) -> bool:
        """Whether ``reasoning_content`` of an answer shows in the text."""
        return self._shows([{"role": "assistant", "content": "a", "reasoning_content": _WORD}])

    @cached_property
    def renders_tools(self) -> bool:
        """Whether tool descriptions show in the text."""
        parameters = {"type": "object", "properties": {"x": {"type": "string", "description": "x"}}, "required": ["x"]}
        return self._shows([], [{"type": "function", "function": {"name": _WORD, "description": "d", "parameters": parameters}}])

    @cached_property
    def call_arguments(self) -> Literal["object", "text"] | None:
        """How the template takes the arguments of a tool call; None where calls do not show in the text."""
        forms: tuple[tuple[Literal["object", "text"], object], ...] = (("object", {"x": 1}), ("text", '{"x": 1}'))
        for form, arguments in forms:
            call = {"type": "function", "id": "abcdefghi", "function": {"name": _WORD, "arguments": arguments}}
            if self._shows([{"role": "assistant", "content": "", "tool_calls": [call]}]):
                return form
        return None

    def _shows(self, messages: Conversation, tools: Tools = None) -> bool:
        try:
            return _WORD in self.render([{"role": "user", "content": "u"}, *messages], tools)
        except InvalidData:  # refusing a thing is one way of having no place for it
            return False


_OTHER_TEMPLATE = "Give one that has with Template(model_id, chat_template=...), or leave them out in a preprocessor"
