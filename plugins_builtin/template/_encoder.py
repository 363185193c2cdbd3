"""Texts to tokens, and to the tokens of some spans of them: every text is encoded once."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Encoding, Tokenizer

from twinkle.plugins_builtin.template._bare_tokenizer import BareTokenizer
from twinkle.plugins_builtin.template._byte_length import ByteLengths
from twinkle.plugins_builtin.template._label import Span, token_spans
from twinkle.plugins_builtin.template._untrimmed_tokenizer import UntrimmedTokenizer

Tokens = tuple[list[int], list[Span]]
"""Token ids, and ranges of them."""


class Encoder:
    """A tokenizer that is asked for the offsets of a text only where the bytes of the tokens do not tell as much.

    Tokens that ``tokenizer`` gets later are known, and another normalizer or pre-tokenizer. Another model is not: make another encoder.

    Args:
        add_special_tokens: whether the tokenizer adds its own, to plain text; a chat template writes them itself.
    """

    def __init__(self, tokenizer: Tokenizer, add_special_tokens: bool) -> None:
        self.tokenizer = tokenizer
        self.add_special_tokens = add_special_tokens
        self._lengths = None if add_special_tokens else ByteLengths.of(tokenizer)
        self._bare = BareTokenizer(tokenizer)
        self._untrimmed = UntrimmedTokenizer(tokenizer)

    def encode(self, texts: Sequence[str], spans: Sequence[Sequence[Span]]) -> list[Tokens]:
        """The ids of each of ``texts`` and the tokens in its ``spans``: one call of the tokenizer, or more where texts differ in kind."""
        if self._lengths is not None and self._lengths.is_outdated():
            self._lengths = ByteLengths.of(self._lengths.tokenizer)
        lengths = self._lengths
        found: dict[int, Tokens] = {}
        if lengths is not None:
            held = [index for index, text in enumerate(texts) if lengths.holds(text)]
            for index, encoding in zip(held, self._of_held([texts[index] for index in held]), strict=True):
                ids = encoding.ids
                inside = lengths.token_spans(texts[index], ids, spans[index]) if spans[index] else []
                if inside is not None:
                    found[index] = ids, inside
        plain = [index for index in range(len(texts)) if index not in found and not spans[index]]
        for index, encoding in zip(plain, self._without_offsets([texts[index] for index in plain]), strict=True):
            found[index] = encoding.ids, []
        others = [index for index in range(len(texts)) if index not in found]
        for index, encoding in zip(others, self._with_offsets([texts[index] for index in others]), strict=True):
            found[index] = encoding.ids, token_spans(encoding, spans[index])
        return [found[index] for index in range(len(texts))]

    def _of_held(self, texts: list[str]) -> list[Encoding]:
        return _unbounded(self._bare.current()).encode_batch_fast(texts, add_special_tokens=False) if texts else []

    def _without_offsets(self, texts: list[str]) -> list[Encoding]:
        return _unbounded(self.tokenizer).encode_batch_fast(texts, add_special_tokens=self.add_special_tokens) if texts else []

    def _with_offsets(self, texts: list[str]) -> list[Encoding]:
        return _unbounded(self._untrimmed.current()).encode_batch(texts, add_special_tokens=self.add_special_tokens) if texts else []


def _unbounded(tokenizer: Tokenizer) -> Tokenizer:
    """``tokenizer`` without the truncation and padding that an earlier call may have left."""
    if tokenizer.truncation is not None:
        tokenizer.no_truncation()
    if tokenizer.padding is not None:
        tokenizer.no_padding()
    return tokenizer
