"""What a data set keeps: its rows, in their order, with what maps and templates add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinkle.testing.check import check, expect
from twinkle.testing.specimen import Specimen


class LengthTemplate:
    """A template without a tokenizer: one token a word, its length."""

    def batch_encode(self, trajectories: Sequence[Any], add_generation_prompt: bool = False) -> list[Any]:
        """The features."""
        features = []
        for row in trajectories:
            ids = [len(word) for message in row["messages"] for word in message["content"].split()]
            features.append({**row, "input_ids": ids, "labels": [*ids[1:], -100], "length": len(ids)})
        return features

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """As many letters as the word had."""
        return " ".join("x" * int(token) for token in token_ids)

    def concat_input_feature(self, prompt: Any, new_tokens: Sequence[int]) -> Any:
        """The ids one after the other."""
        return {**prompt, "input_ids": [*prompt["input_ids"], *new_tokens]}


def _rows(dataset: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in dataset]


def as_messages(row: Any) -> dict[str, Any]:
    """A conversation of one turn from the first text of a row."""
    text = next((value for value in row.values() if isinstance(value, str)), "no text")
    return {"messages": [{"role": "user", "content": text or "empty"}]}


@check("dataset")
def iterates_again(component: Specimen) -> None:
    """A second pass gives the same rows in the same order, and each is a mapping."""
    dataset = component.build()
    first = _rows(dataset)
    expect(first, "the example has no rows")
    expect(first == _rows(dataset), "the second pass gives other rows")


@check("dataset")
def map_adds_columns(component: Specimen) -> None:
    """map() adds what the preprocessor returns to every row, in place, and leaves the other columns and the order."""
    dataset = component.build()
    before = _rows(dataset)
    dataset.map(as_messages)
    after = _rows(dataset)
    expect(len(after) == len(before), f"{len(before)} rows became {len(after)}")
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        expect({name: new.get(name) for name in old} == old, f"row {index} lost or changed a column that the preprocessor did not return")
        messages = [{"role": m["role"], "content": m["content"]} for m in new.get("messages") or []]
        expect(messages == as_messages(old)["messages"], f"row {index} has the messages {messages!r}")


@check("dataset")
def encode_keeps_columns(component: Specimen) -> None:
    """encode() adds input_ids and labels to every row, in place; the columns of before stay, which rewards and checks need."""
    dataset = component.build()
    dataset.map(as_messages)
    before = _rows(dataset)
    dataset.set_template(LengthTemplate())
    dataset.encode()
    after = _rows(dataset)
    expect(len(after) == len(before), f"{len(before)} rows became {len(after)}")
    expected = LengthTemplate().batch_encode(before)
    for index, (old, new, feature) in enumerate(zip(before, after, expected, strict=True)):
        lost = sorted(set(old) - set(new))
        expect(not lost, f"row {index} lost {', '.join(lost)}")
        expect(list(new.get("input_ids") or ()) == feature["input_ids"], f"row {index} has the tokens {new.get('input_ids')}")
        expect(list(new.get("labels") or ()) == feature["labels"], f"row {index} has the labels {new.get('labels')}")


CHECKS = (iterates_again, map_adds_columns, encode_keeps_columns)
