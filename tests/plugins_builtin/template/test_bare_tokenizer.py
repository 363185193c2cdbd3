"""The bare tokenizer gives the ids of the whole one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from twinkle.plugins_builtin.template._bare_tokenizer import BareTokenizer
from twinkle.plugins_builtin.template._byte_length import ByteLengths

PIECES = st.sampled_from([*"ab. \n\té你🎉ñ", "\u0301", "<|im_end|>", "<|im_start|>", "\n\n", "the "])
TEXTS = st.lists(PIECES, min_size=1, max_size=40).map("".join) | st.text(min_size=1, max_size=20)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_folder: Path) -> Tokenizer:
    """Byte-level, with NFC and added tokens."""
    return Tokenizer.from_file(str(tiny_tokenizer_folder / "tokenizer.json"))


def small(*letters: str) -> Tokenizer:
    """A byte-level tokenizer with NFC and a post-processor that begins every text with ``a``."""
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="a $A", special_tokens=[("a", 0)])
    return tokenizer


def ids(tokenizer: Tokenizer, text: str) -> Any:
    """Token ids without special ones."""
    return tokenizer.encode(text, add_special_tokens=False).ids


@given(TEXTS)
def test_ids_of_normalized_text_are_the_same(tokenizer: Tokenizer, text: str) -> None:
    lengths = ByteLengths.of(tokenizer)
    assert lengths is not None
    bare = BareTokenizer(tokenizer).current()
    assert bare.normalizer is None
    assert bare.post_processor is None
    if lengths.holds(text):
        assert ids(bare, text) == ids(tokenizer, text)


@pytest.mark.parametrize("options", [{}, {"normalized": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}, {"special": True}])
def test_added_tokens_are_found_as_before(options: dict[str, bool]) -> None:
    tokenizer = small(*"abc", "Ġ")
    bare = BareTokenizer(tokenizer)
    assert ids(bare.current(), "ab") == [0, 1]
    tokenizer.add_tokens([AddedToken("<b>", **options), AddedToken("c", **options)])  # after its first use; one is in the vocabulary
    for text in ("a<b>c", "a <b> ca", "a<b><b>", "a cc a"):
        assert ids(bare.current(), text) == ids(tokenizer, text)
    assert bare.current() is bare.current()
    assert bare.current() is not tokenizer


@pytest.mark.parametrize("content", ["\u0958\u0932\u092e", "cafe\u0301x", "\u212b"])
@pytest.mark.parametrize("options", [{"normalized": True}, {"normalized": True, "special": True}, {"normalized": False}])
def test_added_tokens_that_are_not_normalized_are_found_in_normalized_text(content: str, options: dict[str, bool]) -> None:
    tokenizer = small(*sorted(pre_tokenizers.ByteLevel.alphabet()))
    bare = BareTokenizer(tokenizer)
    bare.current()
    tokenizer.add_tokens([AddedToken(content, **options)])
    text = normalize("NFC", f"a {content} b")
    assert ids(bare.current(), text) == ids(tokenizer, text)
    assert (bare.current() is tokenizer) == options["normalized"]
    tokenizer.normalizer = None
    assert bare.current() is not tokenizer
    for written in (text, f"a {content} b"):
        assert ids(bare.current(), written) == ids(tokenizer, written)


@given(st.lists(st.tuples(st.text("aé\u0301\u0958 <", min_size=1, max_size=3), st.booleans(), st.booleans(), st.booleans())), TEXTS)
def test_whatever_tokens_are_added_the_ids_are_the_same(added: list[tuple[str, bool, bool, bool]], text: str) -> None:
    tokenizer = small(*sorted(pre_tokenizers.ByteLevel.alphabet()))
    for content, normalized, strips, special in added:
        token = AddedToken(content, normalized=normalized, lstrip=strips, rstrip=strips)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    text = normalize("NFC", text + "".join(content for content, *_ in added))
    bare = BareTokenizer(tokenizer)
    assert ids(bare.current(), text) == ids(tokenizer, text)
    tokenizer.encode_special_tokens = True
    assert ids(bare.current(), text) == ids(tokenizer, text)


def test_another_pre_tokenizer_is_taken_over() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bare = BareTokenizer(tokenizer)
    assert ids(bare.current(), "ab") == [2]
    letters = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([letters, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    assert ids(bare.current(), "ab") == ids(tokenizer, "ab") == [0, 1]


def test_a_token_that_was_special_once_stays_text() -> None:
    tokenizer = small(*"<b>")
    tokenizer.add_special_tokens(["<b>"])
    tokenizer.add_tokens([AddedToken("<b>", rstrip=True)])
    tokenizer.encode_special_tokens = True
    assert ids(BareTokenizer(tokenizer).current(), "b<b>") == ids(tokenizer, "b<b>") == [1, 0, 1, 2]


def test_special_tokens_that_are_read_as_text_stay_text() -> None:
    tokenizer = small(*"<b>")
    tokenizer.add_special_tokens(["<b>"])
    bare = BareTokenizer(tokenizer)
    assert ids(bare.current(), "b<b>") == ids(tokenizer, "b<b>") == [1, 3]
    tokenizer.encode_special_tokens = True
    assert ids(bare.current(), "b<b>") == ids(tokenizer, "b<b>") == [1, 0, 1, 2]


def test_added_tokens_that_would_get_other_ids_keep_theirs() -> None:
    tokenizer = small(*"abc")
    tokenizer.add_tokens(["<b>"])
    tokenizer.model = models.BPE({"a": 0}, [])  # whose next free id is 1
    assert ids(BareTokenizer(tokenizer).current(), "a<b>") == ids(tokenizer, "a<b>") == [0, 3]


def test_a_copy_in_another_process_gives_the_same_ids(tokenizer: Tokenizer) -> None:
    bare = BareTokenizer(tokenizer)
    expected = ids(bare.current(), "the b<|im_end|>\n")
    assert ids(pickle.loads(pickle.dumps(bare)).current(), "the b<|im_end|>\n") == expected
