"""Which tokens lie in a span, and the shift."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from twinkle.plugins_builtin.template._label import shifted_labels, token_spans
from twinkle.plugins_builtin.template._untrimmed_tokenizer import untrimmed


class Offsets:
    """An encoding that consists of its offsets."""

    def __init__(self, *offsets: tuple[int, int]) -> None:
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def token_to_chars(self, token: int) -> tuple[int, int]:
        return self._offsets[token]


def inside(spans: list[tuple[int, int]], *offsets: tuple[int, int]) -> list[int]:
    encoding: Any = Offsets(*offsets)
    return [token for first, end in token_spans(encoding, spans) for token in range(first, end)]


def test_tokens_that_straddle_a_border_are_left_out() -> None:
    assert inside([(2, 6)], (0, 1), (1, 3), (3, 5), (5, 7), (7, 8)) == [2]
    assert inside([(2, 6)], (0, 2), (2, 6), (6, 8)) == [1]
    assert inside([(2, 6)], (0, 8)) == []


def test_the_bytes_of_a_character_go_together() -> None:
    assert inside([(1, 2)], (0, 1), (1, 2), (1, 2), (1, 2), (2, 3)) == [1, 2, 3]
    # the last byte of one character in a token with the first of the next
    assert inside([(1, 2)], (0, 1), (1, 2), (1, 3), (2, 3)) == [1]


def test_a_token_without_width_belongs_to_what_follows() -> None:
    assert inside([(1, 2)], (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)) == [1, 2]


def test_characters_that_no_token_covers_move_no_border() -> None:
    assert inside([(2, 6)], (0, 1), (3, 5), (6, 8)) == [1]
    assert inside([(0, 0), (3, 3)], (0, 1), (1, 4)) == []


@given(st.data())
def test_searching_finds_what_looking_at_every_token_finds(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, 20), min_size=2, max_size=12)))
    offsets = list(itertools.pairwise(cuts))
    borders = sorted(data.draw(st.lists(st.integers(0, 20), max_size=6, unique=True)))
    spans = list(zip(borders[::2], borders[1::2], strict=False))
    expected = [i for a, b in spans for i, (start, end) in enumerate(offsets) if a <= start < b and end <= b]
    assert inside(spans, *offsets) == expected


def test_labels_are_the_next_token_where_that_is_trained() -> None:
    assert shifted_labels([5, 6, 7, 8], [(1, 2), (3, 4)]) == [6, -100, 8, -100]
    assert shifted_labels([5, 6, 7, 8], [(0, 4)]) == [6, 7, 8, -100]
    assert shifted_labels([5, 6, 7, 8], [(-3, 0), (-1, 2), (3, 9)]) == [6, -100, 8, -100]
    assert shifted_labels([5], [(0, 1)]) == [-100]
    assert shifted_labels([], [(0, 1)]) == []


@pytest.mark.parametrize("trim", [True, False])
def test_white_space_that_a_tokenizer_trims_from_offsets_counts(trim: bool) -> None:
    vocabulary = {token: index for index, token in enumerate(["a", ":", "b", "Ġ", "Ċ", "Ġb"])}
    backend = Tokenizer(models.BPE(vocabulary, [("Ġ", "b")]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\S|\s"), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=trim)
    encoding = untrimmed(backend).encode("a: b\n", add_special_tokens=False)
    assert encoding.tokens == ["a", ":", "Ġb", "Ċ"]
    assert token_spans(encoding, [(2, 5)]) == [(2, 4)]
    assert token_spans(encoding, [(3, 5)]) == [(3, 4)], "the space of ' b' lies outside: the token straddles the border"
    assert backend.post_processor is not None
