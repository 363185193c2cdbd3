"""Tool calls in generated text, as Hermes and Qwen write them: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``."""

from __future__ import annotations

import json
import re
from typing import Any

_CALL = re.compile(r"\n?<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


def parse_tool_calls(text: str) -> tuple[str, list[dict[str, Any]]]:
    """``text`` without its calls (and line ends after them), and the calls in OpenAI's form, where ``arguments`` is JSON text.

    A malformed call stays in the text.
    """
    calls: list[dict[str, Any]] = []

    def take(match: re.Match[str]) -> str:
        try:
            call = json.loads(match[1])
        except json.JSONDecodeError:
            return match[0]
        if not isinstance(call.get("name"), str):
            return match[0]
        arguments = call.get("arguments", {})
        text_arguments = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        calls.append({"type": "function", "function": {"name": call["name"], "arguments": text_arguments}})
        return ""

    rest = _CALL.sub(take, text)
    return (rest.rstrip("\n") if calls else rest), calls
