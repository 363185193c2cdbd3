"""A tokenizer without the parts that change nothing for a text that is normalized and gets no special tokens."""

from __future__ import annotations

from typing import Any
from unicodedata import is_normalized

from tokenizers import AddedToken, Tokenizer

from twinkle.plugins_builtin.template._byte_length import copied_parts


class BareTokenizer:
    """The model and the pre-tokenizer of ``tokenizer`` alone, which take a sixth less time and share its memory.

    A normalizer walks over every character even where it changes none, and a post-processor over every token. Tokens that are added to
    ``tokenizer`` later are taken over, and another pre-tokenizer or normalizer. Another model is not: it cannot be told from the first
    without reading its vocabulary.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bare: Tokenizer | None = None
        self._made_of: Any = None

    def current(self) -> Tokenizer:
        """Gives ``tokenizer``'s ids for normalized text without special tokens."""
        if self._tokenizer.encode_special_tokens:  # it then reads tokens as text that were special once, which only it knows
            return self._tokenizer
        parts = copied_parts(self._tokenizer)
        if self._bare is None or parts != self._made_of:
            self._bare, self._made_of = self._made(parts[0]), parts
        return self._bare

    def _made(self, added: dict[int, AddedToken]) -> Tokenizer:
        """The bare tokenizer; the whole one where the bare one would give other ids."""
        tokenizer = self._tokenizer
        if tokenizer.normalizer is not None and any(
            token.normalized and not is_normalized("NFC", token.content) for token in added.values()
        ):  # its normalized form is found in texts, which takes a normalizer
            return tokenizer
        bare = Tokenizer(tokenizer.model)
        bare.pre_tokenizer = tokenizer.pre_tokenizer
        bare.add_tokens([added[token_id] for token_id in sorted(added)])
        same_ids = bare.get_added_tokens_decoder() == added  # else they were numbered beside another model
        return bare if same_ids else tokenizer

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_bare": None, "_made_of": None}  # it would be a second vocabulary there
