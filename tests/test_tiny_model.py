"""The tiny model that other tests stand on."""

from __future__ import annotations

from pathlib import Path

from tiny_model import SPECIAL_TOKENS, make_tokenizer
from tokenizers import Tokenizer


def test_the_same_call_makes_the_same_bytes(tmp_path: Path) -> None:
    first, second = make_tokenizer(tmp_path / "a"), make_tokenizer(tmp_path / "b")
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()


def test_any_text_survives_encoding_and_decoding(tiny_tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_tokenizer_folder / "tokenizer.json"))
    text = "Who are you? 你好！🎉 \n\n\t<think>x</think>"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert [tokenizer.encode(token).tokens for token in SPECIAL_TOKENS] == [[token] for token in SPECIAL_TOKENS]
