"""Plain text: every token but the first is a label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tokenizer
from tokenizers import Tokenizer, processors

from twinkle.core.errors import InvalidData
from twinkle.template import Template

TEXT = "你好 world 🎉\n"


def plain_ids(folder: Path, text: str) -> list[int]:
    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("row", [{"text": TEXT}, {"messages": [{"role": "user", "content": TEXT}]}])
def test_labels_are_the_ids_shifted_by_one(row: Any, tiny: Callable[..., Template], tiny_tokenizer_folder: Path) -> None:
    ids = plain_ids(tiny_tokenizer_folder, TEXT)
    feature = tiny(use_chat_template=False, default_system="unused").encode(row)
    assert feature["input_ids"] == ids
    assert feature["labels"] == [*ids[1:], -100]


def test_an_end_of_sequence_is_appended_where_wanted_and_lacking(tiny: Callable[..., Template], tiny_tokenizer_folder: Path) -> None:
    ids = plain_ids(tiny_tokenizer_folder, f"{TEXT}<|im_end|>")
    template = tiny(use_chat_template=False, append_eos=True)
    rows: Any = [{"text": TEXT}, {"text": f"{TEXT}<|im_end|>"}]
    for feature in template.batch_encode(rows):
        assert feature["input_ids"] == ids
        assert feature["labels"] == [*ids[1:], -100]


@pytest.fixture
def bos_folder(tmp_path: Path) -> Path:
    """A tokenizer that puts <|endoftext|> before everything, as Llama's does with its own."""
    folder = make_tokenizer(
        tmp_path / "bos", chat_template="{{ bos_token }}{% for m in messages %}{{ '>' + m.content + '\n' }}{% endfor %}"
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    bos = ("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_beginning_of_sequence_comes_once_whoever_brings_it(bos_folder: Path) -> None:
    template = Template(bos_folder, use_chat_template=False, bos_token="<|endoftext|>")
    ids = plain_ids(bos_folder, f"<|endoftext|>{TEXT}")
    rows: Any = [{"text": TEXT}, {"text": f"<|endoftext|>{TEXT}"}]
    for feature in template.batch_encode(rows):
        assert feature["input_ids"] == ids
        assert feature["labels"] == [*ids[1:], -100]
    chat = Template(bos_folder, bos_token="<|endoftext|>")
    row: Any = {"messages": [{"role": "user", "content": "Hi"}]}
    assert chat.encode(row)["input_ids"] == plain_ids(bos_folder, "<|endoftext|>>Hi\n")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "exactly one user message"),
        ({"text": ""}, "not empty"),
        ({"text": 7}, "'text' must be text"),
        ({"content": "a"}, "needs 'text' or 'messages', .* this one has .'content'."),
    ],
)
def test_a_row_without_its_one_text_is_refused(row: Any, why: str, tiny: Callable[..., Template]) -> None:
    with pytest.raises(InvalidData, match=why):
        tiny(use_chat_template=False).encode(row)


def test_plain_text_for_a_chat_template_is_refused(tiny: Callable[..., Template]) -> None:
    row: Any = {"text": TEXT}
    with pytest.raises(InvalidData, match=r"needs 'messages'.*use_chat_template=False"):
        tiny().encode(row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": None}, "'text' must be text that is not empty, got None"),
        ({"text": None, "messages": None}, "'text' must be text that is not empty, got None"),
        ({"messages": None}, "'messages' must be a list"),
        ({"text": "half \ud800"}, "half of a surrogate pair"),
    ],
)
def test_a_row_without_text_is_told_by_the_column_that_it_has(row: Any, message: str, tiny: Callable[..., Template]) -> None:
    with pytest.raises(InvalidData, match=message):
        tiny(use_chat_template=False).encode(row)
