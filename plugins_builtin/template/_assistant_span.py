"""Where in a rendered conversation the assistant speaks: the characters that are trained.

Trained are an assistant's content (reasoning and tool calls included), the end-of-turn marker and what the template puts right after it (a
newline in ChatML). The header before it is not, nor what a generation prompt would already give.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from twinkle.core.errors import InvalidData
from twinkle.plugins_builtin.template._label import Span

Messages = Sequence[dict[str, Any]]
Render = Callable[[Messages, bool], str]
"""``(messages, add_generation_prompt)`` -> text."""

_PRIVATE_USE = 0xE000


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnMarkers:
    """The fixed strings around an assistant's content, as a chat template writes them."""

    header: str
    """What precedes every assistant's content; never trained."""
    prompt: str
    """The generation prompt: ``header``, perhaps continued (an empty thought where thinking is off)."""
    end: str
    """The end of an assistant's turn."""
    opener: str
    """How a user's and an assistant's header begin alike; it cannot stand inside a turn. Empty where they share nothing."""
    header_ends_question: bool
    """The header is but the end of a user's turn: between it and an answer others may speak, such as a tool."""


def probe_markers(render: Render, tails: Sequence[str] = ()) -> TurnMarkers | None:
    """The markers of the template behind ``render``, found by rendering recognisable words; None where it has no fixed ones.

    Args:
        tails: strings (special tokens) of which a template may put one after a whole conversation, but not before a generation prompt.
    """
    user, answer, second_user, second_answer = words = ("Twinkleaskone", "Twinklesayone", "Twinkleasktwo", "Twinklesaytwo")
    messages = [{"role": "assistant" if index % 2 else "user", "content": word} for index, word in enumerate(words)]
    try:
        text, asked, prompted = render(messages, False), render(messages[:1], False), render(messages[:1], True)
    except InvalidData:  # a template that refuses this conversation has no markers to be probed
        return None
    if any(text.count(word) != 1 for word in words) or asked.count(user) != 1:
        return None
    for tail in ("", *tails):
        if text.endswith(tail) and asked.endswith(tail) and prompted.startswith(asked.removesuffix(tail)):
            text, asked = text.removesuffix(tail), asked.removesuffix(tail)
            break
    else:
        return None
    after_user = asked.partition(user)[2]
    before_answers = (_between(text, user, answer), _between(text, second_user, second_answer))
    if not all(before.startswith(after_user) for before in before_answers):
        return None
    prompt = prompted[len(asked) :]
    header = _common_beginning(prompt, *(before[len(after_user) :] for before in before_answers))
    header_ends_question = not prompt  # which is then all that announces an answer
    if header_ends_question:
        header = prompt = after_user
    after_answer = _between(text, answer, second_user)
    end = _common_beginning(after_answer, text.partition(second_answer)[2])
    if not header or not end:
        return None
    opener = _common_beginning(header, after_answer[len(end) :])
    opener = opener if opener.strip() else ""
    return TurnMarkers(header=header, prompt=prompt, end=end, opener=opener, header_ends_question=header_ends_question)


def _between(text: str, left: str, right: str) -> str:
    return text[text.index(left) + len(left) : text.index(right)]


def _common_beginning(*texts: str) -> str:
    length = 0
    for characters in zip(*texts, strict=False):  # as far as the shortest reaches
        if len(set(characters)) > 1:
            break
        length += 1
    return texts[0][:length]


def scan_turns(text: str, messages: Messages, markers: TurnMarkers) -> list[Span] | None:
    """The trained spans, found in one pass; None where ``text`` does not look as ``markers`` and ``messages`` say.

    They are right only where nobody imitates a header or an end (:func:`is_imitated`): the number of headers tells nothing then, as
    some templates write none after a tool's result.
    """
    answers = [message for message in messages if message["role"] == "assistant"]
    header, prompt, end, opener = markers.header, markers.prompt, markers.end, markers.opener
    if text.count(header) != len(answers):
        return None
    if markers.header_ends_question and not _answers_follow_questions(messages):
        return None
    spans, at = [], 0
    for answer in answers:
        begin = text.find(header, at)
        if begin < 0:
            return None
        start = begin + len(prompt if text.startswith(prompt, begin) else header)
        stop = text.find(end, start)
        if stop < 0 or (opener and text.find(opener, start, stop) >= 0):
            return None
        content = answer["content"].rpartition("</think>")[2].strip()
        if content and text.find(content, start, stop) < 0:
            return None
        at = stop + len(end)
        spans.append((start, at))
    return spans


def _answers_follow_questions(messages: Messages) -> bool:
    roles = [message["role"] for message in messages]
    return all(before == "user" for before, role in pairwise(["", *roles]) if role == "assistant")


def needles(markers: TurnMarkers) -> tuple[str, str]:
    """What a string holds that imitates a header or an end. An imitated opener only makes :func:`scan_turns` refuse."""
    return _core(markers.header), _core(markers.end)


def is_imitated(needles: tuple[str, str], messages: Messages, tools: Sequence[dict[str, Any]] | None) -> bool:
    """True where people wrote one of ``needles``."""
    header, end = needles
    return any(header in text or end in text for text in _written(messages, tools))


class Disguise:
    """Replaces one character of every marker by one that ``text`` lacks, so that markers in what people wrote can be told from real ones.

    What people wrote is every string of a conversation and its tools but a message's role, and every key inside of a message's fields.
    Lengths stay the same: spans found in the disguised rendering hold in ``text``.
    """

    def __init__(self, markers: TurnMarkers, text: str) -> None:
        cores = [_core(marker) for marker in (markers.header, markers.end, markers.opener or markers.header)]
        free = (character for character in map(chr, range(_PRIVATE_USE, sys.maxunicode)) if character not in text)
        private_of = {visible: next(free) for visible in dict.fromkeys(core[0] for core in cores)}
        self._text = text
        self._variants = [(core, private_of[core[0]] + core[1:]) for core in cores]
        self._restored = str.maketrans({private: visible for visible, private in private_of.items()})

    def of_messages(self, messages: Messages) -> list[dict[str, Any]]:
        """``messages`` with every marker disguised; roles and the names of fields stay."""
        return [{key: inner if key == "role" else self.of(inner) for key, inner in message.items()} for message in messages]

    def of(self, value: Any) -> Any:
        """``value`` with every marker in its strings disguised, keys included."""
        if isinstance(value, str):
            for core, variant in self._variants:
                value = value.replace(core, variant)
            return value
        if isinstance(value, Mapping):
            return {self.of(key): self.of(inner) for key, inner in value.items()}
        return [self.of(inner) for inner in value] if isinstance(value, list | tuple) else value

    def hides(self, disguised: str) -> bool:
        """True where ``disguised`` is ``text`` but for the disguise: the template reads nothing of what it changed."""
        return disguised.translate(self._restored) == self._text


def _core(marker: str) -> str:
    """What a string holds if ``marker`` begins in it, when a template may put anything but words right after it.

    White space around a marker may be the template's. And where a marker ends as it begins, that much is enough: in "a|" before "||" the
    marker seems to begin one bar early.
    """
    core = marker.strip() or marker
    return next((core[:length] for length in range(1, len(core) // 2 + 1) if core.endswith(core[:length])), core)


def _written(messages: Messages, tools: Sequence[dict[str, Any]] | None) -> Iterator[str]:
    """All strings that people wrote."""
    for message in messages:
        for key, value in message.items():
            if isinstance(value, str):  # most are
                if key != "role":
                    yield value
            else:
                yield from _strings(value)
    yield from _strings(tools)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def prefix_turns(render: Render, text: str, messages: Messages, markers: TurnMarkers | None) -> list[Span]:
    """The trained spans by rendering the conversation up to each assistant turn: slow, for templates without fixed markers.

    Raises:
        InvalidData: the beginning of a conversation is not rendered as the beginning of its rendering.
    """
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, prompted, after = render(messages[:index], False), render(messages[:index], True), render(messages[: index + 1], False)
        if not (text.startswith(after) and after.startswith(before)):
            raise InvalidData(
                f"cannot tell which part of the rendered conversation is messages[{index}]: this chat template renders a turn differently "
                "once others follow, and its turns have no fixed header and end (or a message holds such a marker). Give a chat_template "
                "with {% generation %} ... {% endgeneration %} around what the assistant says, or split the conversation at this turn"
            )
        if after.startswith(prompted):
            start = len(prompted)
        elif markers is not None and after.startswith(markers.header, len(before)):
            start = len(before) + len(markers.header)
        else:
            start = max(len(before), len(_common_beginning(prompted, after)))
        spans.append((start, len(after)))
    return spans
