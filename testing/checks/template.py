"""What a template keeps: the model's own rendering, labels on the assistant's words alone, and text that comes back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twinkle.core.types import IGNORE_INDEX
from twinkle.testing.check import NotApplicable, check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

_SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
CONVERSATIONS: tuple[tuple[dict[str, str], ...], ...] = (
    (_SYSTEM, {"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I am a small model."}),
    (
        _SYSTEM,
        {"role": "user", "content": "What is 48 / 2?"},
        {"role": "assistant", "content": "It is 24."},
        {"role": "user", "content": "And 24 + 48?"},
        {"role": "assistant", "content": "It is 72 apples."},
    ),
    (_SYSTEM, {"role": "user", "content": "你是谁？"}, {"role": "assistant", "content": "我是一个助手 🙂 «naïve»"}),
)


@dataclass(frozen=True, kw_only=True)
class TemplateExample(Example):
    """For templates. ``init`` has to name a model folder with a tokenizer."""

    conversations: Sequence[Sequence[dict[str, str]]] = CONVERSATIONS
    """With a system turn, ending with the assistant."""
    tokenizer: Callable[[], Any] | None = None
    """The model's transformers tokenizer, whose ``apply_chat_template`` is what the template is compared with; None leaves that out."""


def _rows(component: Specimen) -> list[dict[str, Any]]:
    return [{"messages": [dict(m) for m in messages]} for messages in component.example_of(TemplateExample).conversations]


def _trained(feature: Any) -> list[int]:
    return [int(label) for label in feature["labels"] if int(label) != IGNORE_INDEX]


@check("template")
def text_comes_back(component: Specimen) -> None:
    """Decoding the token ids of a conversation gives a text with every message in it, in order, to the character."""
    template, rows = component.build(), _rows(component)
    for row, feature in zip(rows, template.batch_encode(copy.deepcopy(rows)), strict=True):
        text, at = template.decode(feature["input_ids"]), 0
        for message in row["messages"]:
            found = text.find(message["content"], at)
            expect(found >= 0, f"{message['content']!r} is missing after character {at} of {text!r}")
            at = found + len(message["content"])


@check("template")
def labels_are_the_next_token(component: Specimen) -> None:
    """labels[i] is input_ids[i + 1] wherever it is not -100, the last label is -100, and all columns have one length.

    No part shifts again: a label that stands on its own token would train the model to copy."""
    for feature in component.build().batch_encode(_rows(component)):
        ids, labels = list(feature["input_ids"]), list(feature["labels"])
        expect(len(ids) == len(labels), f"{len(ids)} tokens but {len(labels)} labels")
        wrong = [i for i, label in enumerate(labels[:-1]) if label not in (IGNORE_INDEX, ids[i + 1])]
        wrong += [len(ids) - 1] if labels[-1] != IGNORE_INDEX else []
        expect(not wrong, f"position {wrong[:1]} has another label than the next token")


@check("template")
def only_the_assistant_is_trained(component: Specimen) -> None:
    """The labels spell what the assistant says in every turn, and nothing of what the others say."""
    template, rows = component.build(), _rows(component)
    for row, feature in zip(rows, template.batch_encode(copy.deepcopy(rows)), strict=True):
        text = template.decode(_trained(feature))
        for message in row["messages"]:
            is_trained, wanted = message["content"] in text, message["role"] == "assistant"
            expect(is_trained == wanted, f"{message['role']} {message['content']!r} is {'' if is_trained else 'not '}trained: {text!r}")


@check("template")
def prompts_are_prefixes(component: Specimen) -> None:
    """The prompt before each of the assistant's turns is the beginning of the whole conversation, token by token.

    Else a model is trained on other tokens than it is sampled from."""
    template = component.build()
    for row in _rows(component):
        messages = row["messages"]
        for end in (i for i, message in enumerate(messages) if message["role"] == "assistant"):
            whole = list(template.batch_encode([{"messages": copy.deepcopy(messages[: end + 1])}])[0]["input_ids"])
            prompt = list(template.batch_encode([{"messages": copy.deepcopy(messages[:end])}], True)[0]["input_ids"])
            expect(whole[: len(prompt)] == prompt, f"the prompt before turn {end} is no beginning of it: {template.decode(prompt)!r}")


@check("template")
def equals_the_chat_template_of_the_model(component: Specimen) -> None:
    """The token ids are those of the tokenizer's own apply_chat_template."""
    make = component.example_of(TemplateExample).tokenizer
    if make is None:
        raise NotApplicable("the example gives no tokenizer to compare with")
    template, tokenizer = component.build(), make()
    for row in _rows(component):
        expected = tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=False)
        found = list(template.batch_encode([copy.deepcopy(row)])[0]["input_ids"])
        expect(found == list(expected), f"{template.decode(found)!r} instead of {tokenizer.decode(expected)!r}")


@check("template")
def a_batch_equals_its_rows(component: Specimen) -> None:
    """batch_encode gives for each row what it gives for that row alone, in their order."""
    template, rows = component.build(), _rows(component)
    together = template.batch_encode(copy.deepcopy(rows))
    expect(len(together) == len(rows), f"{len(together)} features for {len(rows)} rows")
    for index, (row, feature) in enumerate(zip(rows, together, strict=True)):
        alone = template.batch_encode([copy.deepcopy(row)])[0]
        expect(list(alone["input_ids"]) == list(feature["input_ids"]), f"row {index} has other tokens in a batch than alone")


@check("template")
def leaves_the_rows(component: Specimen) -> None:
    """The rows that come in stay as they are."""
    rows = _rows(component)
    component.build().batch_encode(rows)
    expect(rows == _rows(component), "a row is another one afterwards")


@check("template")
def continues_a_prompt(component: Specimen) -> None:
    """concat_input_feature appends exactly the new tokens, makes exactly them labels, and keeps every other column of the prompt."""
    template, rows = component.build(), _rows(component)
    new = list(template.batch_encode(copy.deepcopy(rows[:1]))[0]["input_ids"])[-3:]
    prompt = {**template.batch_encode([{"messages": rows[0]["messages"][:2]}], True)[0], "user_data": [["ground_truth", "72"]]}
    before = copy.deepcopy(prompt)
    feature = template.concat_input_feature(prompt, new)
    expect(list(feature["input_ids"]) == [*before["input_ids"], *new], "its tokens are not those of the prompt and the new ones")
    start = len(before["input_ids"]) - 1
    trained = [i for i, label in enumerate(feature["labels"]) if label != IGNORE_INDEX]
    expect(trained == list(range(start, start + len(new))), f"the positions {trained} are trained, not the {len(new)} from {start} on")
    expect(_trained(feature) == new, "its labels are not the new tokens")
    expect(feature.get("user_data") == before["user_data"], "the column 'user_data' of the prompt is lost")
    expect(prompt == before, "the prompt itself was changed")


CHECKS = (
    text_comes_back,
    labels_are_the_next_token,
    only_the_assistant_is_trained,
    prompts_are_prefixes,
    equals_the_chat_template_of_the_model,
    a_batch_equals_its_rows,
    leaves_the_rows,
    continues_a_prompt,
)
