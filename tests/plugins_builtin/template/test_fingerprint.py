"""Results of encoding are kept as long as nothing changes that they depend on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twinkle.dataset import Dataset
from twinkle.template import Template


def test_the_same_settings_have_the_same_fingerprint(tiny_tokenizer_folder: Path) -> None:
    assert Template(tiny_tokenizer_folder).fingerprint() == Template(tiny_tokenizer_folder).fingerprint() is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"max_length": 7},
        {"truncation_strategy": "left"},
        {"default_system": "S"},
        {"enable_thinking": False},
        {"use_chat_template": False},
        {"append_eos": True},
        {"chat_template": "{{ messages[0].content }}"},
        {"eos_token": "<|endoftext|>"},
    ],
)
def test_every_setting_changes_the_fingerprint(tiny_tokenizer_folder: Path, changed: dict[str, Any]) -> None:
    assert Template(tiny_tokenizer_folder, **changed).fingerprint() != Template(tiny_tokenizer_folder).fingerprint()


def test_encoding_leaves_the_fingerprint_alone(tiny_tokenizer_folder: Path) -> None:
    template = Template(tiny_tokenizer_folder)
    before = template.fingerprint()
    template.batch_encode([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}])
    assert template.fingerprint() == before


def test_a_chat_template_that_writes_the_date_has_none(tiny_tokenizer_folder: Path) -> None:
    assert Template(tiny_tokenizer_folder, chat_template="{{ strftime_now('%d %b %Y') }}").fingerprint() is None


def test_a_subclass_has_none(tiny_tokenizer_folder: Path) -> None:
    class Own(Template):
        pass

    assert Own(tiny_tokenizer_folder).fingerprint() is None


def test_a_data_set_is_encoded_once(tiny_tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "r.jsonl").write_text(json.dumps({"messages": messages}))
    calls: list[int] = []
    encode = Template.batch_encode

    def counting(self: Template, rows: Any, add_generation_prompt: bool = False) -> Any:
        calls.append(len(rows))
        return encode(self, rows, add_generation_prompt)

    monkeypatch.setattr(Template, "batch_encode", counting)
    found = []
    for _ in range(2):
        dataset = Dataset(str(tmp_path / "r.jsonl"))
        dataset.set_template("Template", model_id=str(tiny_tokenizer_folder))
        dataset.encode()
        found.append(dataset[0])
    assert calls == [1]
    assert found[0] == found[1]
