"""Token spans from the bytes of tokens, against those from the tokenizer's own offsets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from twinkle.plugins_builtin.template._byte_length import ByteLengths
from twinkle.plugins_builtin.template._encoder import Encoder
from twinkle.plugins_builtin.template._label import token_spans

PIECES = st.sampled_from([*"ab. \n\té你🎉ñ", "<|im_end|>", "\n\n", "the "])
TEXTS = st.lists(PIECES, min_size=1, max_size=40).map("".join) | st.text(min_size=1, max_size=20)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Tokenizer:
    """Byte-level, with NFC and added tokens."""
    return Tokenizer.from_file(str(tiny_tokenizer_folder / "tokenizer.json"))


def byte_level(*letters: str, **changes: Any) -> Tokenizer:
    """A tokenizer of single bytes."""
    tokenizer = Tokenizer(changes.pop("model", None) or models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    for name, part in changes.items():
        setattr(tokenizer, name, part)
    return tokenizer


@given(st.data())
def test_bytes_tell_what_offsets_tell(tokenizer: Tokenizer, data: st.DataObject) -> None:
    lengths = ByteLengths.of(tokenizer)
    text = data.draw(TEXTS)
    assert lengths is not None
    if not lengths.holds(text):
        return
    borders = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    spans = list(zip(borders[::2], borders[1::2], strict=False))
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found = lengths.token_spans(text, encoding.ids, spans)
    assert found is not None
    assert [token for span in found for token in range(*span)] == [t for span in token_spans(encoding, spans) for t in range(*span)]


def test_added_tokens_count_the_bytes_of_their_text() -> None:
    tokenizer = byte_level(*"abc")
    tokenizer.add_tokens(["<é>"])
    lengths = ByteLengths.of(tokenizer)
    assert lengths is not None
    assert lengths.token_spans("ab<é>c", tokenizer.encode("ab<é>c").ids, [(1, 5), (5, 6)]) == [(1, 3), (3, 4)]
    tokenizer.add_tokens(["<bb>"])  # after the first were looked up
    assert lengths.token_spans("a<bb>c", tokenizer.encode("a<bb>c").ids, [(1, 5)]) == [(1, 2)]


def test_an_added_token_that_is_not_normalized_counts_the_bytes_of_the_text() -> None:
    tokenizer = byte_level(*sorted(pre_tokenizers.ByteLevel.alphabet()), normalizer=normalizers.NFC())
    tokenizer.add_tokens(["\u212b", "\u0958"])  # three bytes each, for which a text has two and six
    text = "a\u00c5b\u0915\u093cc"
    lengths = ByteLengths.of(tokenizer)
    assert lengths is not None
    assert lengths.holds(text)
    assert lengths.token_spans(text, tokenizer.encode(text).ids, [(0, 1), (1, 3), (3, 6)]) == [(0, 1), (1, 3), (3, 5)]


def test_tokens_with_less_bytes_than_the_text_tell_nothing() -> None:
    swallowing = byte_level(*"abc", "Ġ")
    swallowing.add_tokens([AddedToken("<s>", lstrip=True)])
    lacking = byte_level(*"ab")
    for tokenizer, text in ((swallowing, "a <s>b"), (lacking, "acb"), (lacking, "c")):
        lengths = ByteLengths.of(tokenizer)
        assert lengths is not None
        assert lengths.token_spans(text, tokenizer.encode(text).ids, [(0, len(text))]) is None


def test_text_that_the_tokenizer_changes_is_not_held() -> None:
    composing = ByteLengths.of(byte_level("a", normalizer=normalizers.NFC()))
    plain = ByteLengths.of(byte_level("a"))
    assert composing is not None
    assert plain is not None
    assert composing.holds("a\u00e9")
    assert not composing.holds("ae\u0301")
    assert plain.holds("ae\u0301")


@pytest.mark.parametrize(
    "tokenizer",
    [
        byte_level(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
        byte_level(pre_tokenizer=pre_tokenizers.Metaspace()),
        byte_level(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.ByteLevel(add_prefix_space=False)])),
        byte_level(normalizer=normalizers.Lowercase()),
        byte_level(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Replace("a", "bb")])),
        byte_level(model=models.BPE({"a": 0, "?": 1}, [], unk_token="?")),
        byte_level(model=models.BPE({"a": 0}, [], byte_fallback=True)),
        byte_level(model=models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>")),
        byte_level(model=models.WordLevel({"a": 0})),
        Tokenizer(models.BPE({"a": 0}, [])),
    ],
)
def test_tokenizers_whose_tokens_may_stand_for_other_bytes_are_refused(tokenizer: Tokenizer) -> None:
    assert ByteLengths.of(tokenizer) is None


def test_an_encoder_finds_the_same_tokens_with_offsets_and_without(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a the b\n", "cafe\u0301 the b\n", "你 b<|im_end|>\n", ""]
    spans = [[(0, 3), (4, 8)], [(1, 8)], [(1, 14)], []]
    expected = []
    for text, wanted in zip(texts, spans, strict=True):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        expected.append((encoding.ids, token_spans(encoding, wanted)))
    encoder = Encoder(tokenizer, add_special_tokens=False)
    assert encoder.encode(texts, spans) == expected
    monkeypatch.setattr(encoder, "_lengths", None)
    assert encoder.encode(texts, spans) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": normalizers.Lowercase()},
        {"normalizer": None},
        {"pre_tokenizer": pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)])},
        {
            "pre_tokenizer": pre_tokenizers.Sequence(
                [pre_tokenizers.Split("T", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        },
    ],
)
def test_an_encoder_takes_over_what_changes_in_its_tokenizer(tiny_tokenizer_folder: Path, change: dict[str, Any]) -> None:
    texts, spans = ["The weather in Paris", "cafe\u0301 THE b"], [[(0, 3), (4, 11)], [(6, 9)]]
    used = Tokenizer.from_file(str(tiny_tokenizer_folder / "tokenizer.json"))
    encoder = Encoder(used, add_special_tokens=False)
    encoder.encode(texts, spans)
    fresh = Tokenizer.from_file(str(tiny_tokenizer_folder / "tokenizer.json"))
    for tokenizer in (used, fresh):
        for name, part in change.items():
            setattr(tokenizer, name, part)
    expected = Encoder(fresh, add_special_tokens=False).encode(texts, spans)
    assert encoder.encode(texts, spans) == expected
    assert [ids for ids, _ in expected] == [fresh.encode(text, add_special_tokens=False).ids for text in texts]


def test_a_copy_for_whole_offsets_knows_tokens_that_are_added_later() -> None:
    tokenizer = byte_level(*"ab<>", "Ġ", post_processor=processors.ByteLevel(trim_offsets=True))
    tokenizer.add_tokens([AddedToken("<s>", lstrip=True)])
    encoder = Encoder(tokenizer, add_special_tokens=False)
    assert encoder.encode(["a <s>b"], [[(5, 6)]]) == [([0, 5, 1], [(2, 3)])]  # <s> swallows a space, so that offsets are asked for
    tokenizer.add_special_tokens(["<b>"])
    assert encoder.encode(["a <s>b<b>"], [[(5, 9)]]) == [([0, 5, 1, 6], [(2, 4)])]
    tokenizer.encode_special_tokens = True
    assert encoder.encode(["a <s>b<b>"], [[(5, 9)]]) == [([0, 5, 1, 2, 1, 3], [(2, 6)])]


@pytest.mark.parametrize("call", ["truncation", "padding"])
def test_an_encoder_is_not_bound_by_an_earlier_call(tokenizer: Tokenizer, call: str) -> None:
    encoder = Encoder(tokenizer, add_special_tokens=False)
    texts, spans = ["a b c d", "cafe\u0301 b", "a b c d"], [[(0, 7)], [(0, 7)], []]
    expected = encoder.encode(texts, spans)
    bound: Callable[..., None] = tokenizer.enable_truncation if call == "truncation" else tokenizer.enable_padding
    bound(**({"max_length": 2} if call == "truncation" else {"length": 20}))
    assert encoder.encode(texts, spans) == expected


def test_spans_of_many_turns_are_found_in_one_pass_over_the_text(tokenizer: Tokenizer) -> None:
    read: list[int] = []

    class Read(str):
        def __getitem__(self, key: Any) -> str:
            read.append(len(range(*key.indices(len(self)))))
            return super().__getitem__(key)

    text = Read("é b" * 200)
    lengths = ByteLengths.of(tokenizer)
    borders = itertools.pairwise(range(0, 600, 3))
    assert lengths is not None
    found = lengths.token_spans(text, tokenizer.encode(str(text), add_special_tokens=False).ids, list(borders)[::2])
    assert found is not None
    assert sum(read) == len(text)
