"""What encoding asks of the tokenizer: each text once, offsets where nothing else tells, the vocabulary only for results that are kept."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from twinkle.dataset import Dataset, DatasetMeta
from twinkle.template import Template


class CountingTokenizer:
    """A Rust tokenizer that notes what it is asked."""

    truncation = padding = None

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.without_offsets: list[int] = []
        self.with_offsets: list[int] = []
        self.num_written = 0

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self.without_offsets.append(len(texts))
        return self._tokenizer.encode_batch_fast(texts, **options)

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.with_offsets.append(len(texts))
        return self._tokenizer.encode_batch(texts, **options)

    def to_str(self) -> str:
        self.num_written += 1
        text: str = self._tokenizer.to_str()
        return text


def counted(folder: Path, **settings: Any) -> tuple[Template, CountingTokenizer]:
    template = Template(folder, **settings)
    tokenizer = CountingTokenizer(template._encoder.tokenizer)
    copied = SimpleNamespace(current=lambda: tokenizer)
    vars(template._encoder).update(tokenizer=tokenizer, _bare=copied, _untrimmed=copied)
    return template, tokenizer


def conversations(num_turns: int, answer: str = "I am.", num_rows: int = 3) -> list[Any]:
    turn = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": answer}]
    return [{"messages": turn * num_turns} for _ in range(num_rows)]


@pytest.mark.parametrize("num_turns", [1, 10])
def test_a_batch_is_one_call_without_offsets_whatever_the_turns(num_turns: int, tiny_tokenizer_folder: Path) -> None:
    template, tokenizer = counted(tiny_tokenizer_folder)
    template.batch_encode(conversations(num_turns))
    template.batch_encode(conversations(num_turns), add_generation_prompt=True)
    assert (tokenizer.without_offsets, tokenizer.with_offsets) == ([3, 3], [])


def test_a_text_that_the_tokenizer_composes_is_encoded_once_with_offsets(tiny_tokenizer_folder: Path) -> None:
    template, tokenizer = counted(tiny_tokenizer_folder)
    template.batch_encode([*conversations(1), *conversations(1, "cafe\u0301", num_rows=2)])
    assert (tokenizer.without_offsets, tokenizer.with_offsets) == ([3], [2])


def test_plain_text_needs_no_offsets(tiny_tokenizer_folder: Path) -> None:
    template, tokenizer = counted(tiny_tokenizer_folder, use_chat_template=False)
    rows: list[Any] = [{"text": "a b"}, {"text": "cafe\u0301"}]
    template.batch_encode(rows)
    assert (tokenizer.without_offsets, tokenizer.with_offsets) == ([2], [])


def test_a_bare_tokenizer_is_sent_to_another_process_with_one_vocabulary(tiny_tokenizer_folder: Path) -> None:
    template = Template(tiny_tokenizer_folder)
    template.batch_encode(conversations(1))
    bare = template._encoder._bare
    assert bare.current() is not template._encoder.tokenizer
    assert len(pickle.dumps(bare)) < 1.1 * len(pickle.dumps(template._encoder.tokenizer))


def test_a_data_set_in_memory_costs_no_fingerprint(tiny_tokenizer_folder: Path) -> None:
    template, tokenizer = counted(tiny_tokenizer_folder)
    dataset = Dataset(DatasetMeta(data=conversations(2)))
    dataset.set_template(template)
    dataset.encode()
    assert len(dataset) == 3
    assert tokenizer.without_offsets == [3]
    assert tokenizer.num_written == 0


def test_data_sets_in_files_cost_one_fingerprint_together(tiny_tokenizer_folder: Path, tmp_path: Path) -> None:
    template, tokenizer = counted(tiny_tokenizer_folder)
    dataset = Dataset()
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in conversations(1)), encoding="utf-8")
        dataset.add_dataset(str(tmp_path / f"{name}.jsonl"))
    dataset.set_template(template)
    dataset.encode()
    assert tokenizer.without_offsets == [3, 3]
    assert tokenizer.num_written == 1
