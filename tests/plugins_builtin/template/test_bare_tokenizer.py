"""The bare tokenizer gives the ids of the whole one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

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
