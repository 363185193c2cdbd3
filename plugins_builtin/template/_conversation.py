"""A row's messages and tools in the one form that chat templates take; the row itself is never changed.

Two generations of rows exist: tools ``{tool_name, description, parameters}`` with calls ``{tool_name, arguments}``, and OpenAI's nested
``{type: "function", function: {...}}``. JSON may stand as text. A column that Arrow unified has every key in every struct, the absent ones
None: keys whose value is None are dropped, at any depth (what stands in JSON text keeps its nulls).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from twinkle.core.errors import InvalidData
from twinkle.core.suggestion import did_you_mean

ROLES = ("system", "developer", "user", "assistant", "tool")
_OTHER_ROLE_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "function": "tool"}
_MEDIA = ("images", "videos", "audios")
_THINK, _END_THINK = "<think>", "</think>"

Conversation = list[dict[str, Any]]


def normal_messages(messages: object, default_system: str | None = None) -> Conversation:
    """``messages`` with text contents, nested tool calls and no None, after ``default_system`` where they have no system turn.

    Raises:
        InvalidData: no list, empty, an unknown role, a content that is no text.
    """
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise InvalidData(f"'messages' must be a list of mappings with 'role' and 'content', got {_shown(messages)}")
    if not messages:
        raise InvalidData("'messages' is empty: expected one message or more")
    normal = [_normal_message(message, index) for index, message in enumerate(messages)]
    if default_system is not None and normal[0]["role"] not in ("system", "developer"):
        normal.insert(0, {"role": "system", "content": default_system})
    return normal


def _normal_message(message: object, index: int) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidData(f"messages[{index}] must be a mapping with 'role' and 'content', got {_shown(message)}")
    normal = {key: value for key, value in message.items() if value is not None}
    role = normal.get("role")
    if role not in ROLES:
        raise InvalidData(f"messages[{index}] has the role {role!r}: expected one of {', '.join(ROLES)}.{_role_hint(role)}")
    for media in _MEDIA:
        if normal.pop(media, None):
            raise InvalidData(f"messages[{index}] has {media}: this template takes text alone")
    if not normal.get("tool_calls", True):
        del normal["tool_calls"]
    content = normal.get("content")
    if not isinstance(content, str):
        if content is None and role == "assistant" and ("tool_calls" in normal or "reasoning_content" in normal):
            normal["content"] = ""
        else:
            normal["content"] = _joined_text(content, index)
    if "tool_calls" in normal:
        normal["tool_calls"] = [_normal_call(call, f"messages[{index}].tool_calls") for call in _listed(normal["tool_calls"], index)]
    if not isinstance(normal.get("reasoning_content", ""), str):
        raise InvalidData(f"messages[{index}].reasoning_content must be text, got {_shown(normal['reasoning_content'])}")
    return normal


def _role_hint(role: object) -> str:
    if not isinstance(role, str):
        return ""
    other = _OTHER_ROLE_NAMES.get(role)
    return f" {role!r} is called {other!r} here: rename it in a preprocessor." if other else did_you_mean(role, ROLES)


def _joined_text(content: object, index: int) -> str:
    if isinstance(content, Sequence):
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)]
        if len(parts) == len(content):
            return "".join(part["text"] for part in parts)
    raise InvalidData(f"messages[{index}].content must be text, or a list of {{'type': 'text', 'text': ...}}, got {_shown(content)}")


def _listed(calls: object, index: int) -> Sequence[object]:
    loaded = _loaded(calls, f"messages[{index}].tool_calls")
    if not isinstance(loaded, Sequence):
        raise InvalidData(f"messages[{index}].tool_calls must be a list, got {_shown(loaded)}")
    return loaded


def normal_tools(tools: object) -> list[dict[str, Any]] | None:
    """``tools`` as nested OpenAI schemas; None where there are none.

    Raises:
        InvalidData: an entry without a name, broken JSON.
    """
    if not tools:
        return None
    loaded = _loaded(tools, "tools")
    if not isinstance(loaded, Sequence):
        raise InvalidData(f"'tools' must be a list of function descriptions, got {_shown(loaded)}")
    return [_normal_function(tool, f"tools[{index}]", "parameters") for index, tool in enumerate(loaded)] or None


def _normal_call(call: object, where: str) -> dict[str, Any]:
    return _normal_function(call, where, "arguments")


def _normal_function(entry: object, where: str, payload: str) -> dict[str, Any]:
    """``{type: function, function: {name, <payload>, ...}}`` of either form; ``payload`` is an object."""
    loaded = without_none(_loaded(entry, where))
    if not isinstance(loaded, dict):
        raise InvalidData(f"{where} must be a mapping, got {_shown(loaded)}")
    outer = dict(loaded)
    inner = outer.pop("function", None)
    if not isinstance(inner, dict):  # the flat forms: everything but type and id describes the function
        inner, outer = outer, {key: outer.pop(key) for key in ("type", "id") if key in outer}
    function = {("name" if key == "tool_name" else key): value for key, value in inner.items()}
    if not isinstance(function.get("name"), str):
        raise InvalidData(f"{where} needs a 'tool_name', or {{'type': 'function', 'function': {{'name': ...}}}}, got {_shown(entry)}")
    if payload in function:
        function[payload] = _loaded(function[payload], f"{where} {function['name']!r}.{payload}")
    elif payload == "arguments":
        function[payload] = {}
    return {**outer, "type": "function", "function": function}


def _loaded(value: object, where: str) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise InvalidData(f"{where} is text that is no JSON ({error}): {_shown(value)}") from error


def without_none(value: object) -> object:
    """``value`` without the mapping keys whose value is None, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [without_none(inner) for inner in value]
    return value


def split_reasoning(message: dict[str, Any]) -> None:
    """Moves a leading ``<think>...</think>`` of the content to ``reasoning_content``, unless there is one."""
    content: str = message["content"]
    if "reasoning_content" in message or not content.lstrip().startswith(_THINK):
        return
    thought, closing, answer = content.lstrip()[len(_THINK) :].partition(_END_THINK)
    if closing:
        message["reasoning_content"] = thought.strip("\n")
        message["content"] = answer.lstrip("\n")


def join_reasoning(message: dict[str, Any]) -> None:
    """Moves ``reasoning_content`` into the content, for templates that would lose it."""
    thought = message.pop("reasoning_content", "")
    if thought:
        message["content"] = f"{_THINK}\n{thought}\n{_END_THINK}\n\n{message['content']}"


def is_empty_turn(message: Mapping[str, Any]) -> bool:
    """True for an assistant's turn that says nothing: the place where an answer is to be generated."""
    return message["role"] == "assistant" and not any(message.get(key) for key in ("content", "tool_calls", "reasoning_content"))


def excerpt(row: object) -> str:
    """How a row begins, to find it by: the first words of its text or of its first user turn; "" where there are none."""
    if not isinstance(row, Mapping):
        return ""
    if isinstance(row.get("text"), str):
        return _shown(row["text"], 48)
    messages = row.get("messages")
    if isinstance(messages, Sequence):
        for message in messages:
            if isinstance(message, Mapping) and message.get("role") == "user":
                return _shown(message.get("content"), 48)
    return ""


def _shown(value: object, width: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 3]}..."
