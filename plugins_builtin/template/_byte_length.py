"""Which tokens lie in a span, from the bytes that each token stands for.

A byte-level tokenizer cuts a text into pieces of its bytes, so that the lengths of the tokens before it tell where a token lies. Offsets
tell the same, but for them ``tokenizers`` makes a table of all bytes of each text, which is a fifth of the time that a long text takes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from typing import Any
from unicodedata import is_normalized, normalize

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

from twinkle.plugins_builtin.template._label import Span


class ByteLengths:
    """Bytes of the tokens of a byte-level tokenizer, each looked up when it is first met; not to be used once it is outdated."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._text_steps = text_steps(tokenizer)
        self._lengths_V = np.zeros(0, dtype=np.int64)  # 0: not met yet
        self._changes_text = bool(_steps(tokenizer.normalizer, "normalizers"))

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> ByteLengths | None:
        """The lengths of ``tokenizer``; None where a token may stand for other bytes than the text has, or for more."""
        model = tokenizer.model
        if not isinstance(model, BPE) or model.byte_fallback:
            return None
        if model.unk_token or model.continuing_subword_prefix or model.end_of_word_suffix:
            return None
        *cuts, last = _steps(tokenizer.pre_tokenizer, "pretokenizers") or [{"type": ""}]
        is_byte_level = (
            last["type"] == "ByteLevel" and not last["add_prefix_space"] and {cut["type"] for cut in cuts} <= {"Split", "Digits"}
        )
        is_nfc = {step["type"] for step in _steps(tokenizer.normalizer, "normalizers")} <= {"NFC"}
        return cls(tokenizer) if is_byte_level and is_nfc else None

    def is_outdated(self) -> bool:
        """Whether the tokenizer got another normalizer or pre-tokenizer since."""
        return text_steps(self.tokenizer) != self._text_steps

    def holds(self, text: str) -> bool:
        """Whether the tokenizer encodes ``text`` as it is."""
        return not self._changes_text or text.isascii() or is_normalized("NFC", text)

    def token_spans(self, text: str, ids: list[int], spans: Sequence[Span]) -> list[Span] | None:
        """The tokens that lie wholly inside each of ``spans`` (characters of ``text``; ascending, disjoint), as ranges.

        None where ``ids`` have less bytes than ``text``: added tokens may swallow white space, and a vocabulary may lack a byte.
        """
        *borders, num_bytes = _num_bytes_before([*chain.from_iterable(spans)], text)
        lengths_T = self._lengths_of(np.array(ids, dtype=np.int64))
        ends_T = np.cumsum(lengths_T)
        if len(ids) == 0 or ends_T[-1] != num_bytes:
            return None
        firsts = np.searchsorted(ends_T - lengths_T, borders[::2], side="left").tolist()
        ends = np.searchsorted(ends_T, borders[1::2], side="right").tolist()
        return [(first, end) for first, end in zip(firsts, ends, strict=True) if first < end]

    def _lengths_of(self, ids_T: NDArray[np.int64]) -> NDArray[np.int64]:
        missing = int(ids_T.max(initial=-1)) + 1 - len(self._lengths_V)
        if missing > 0:
            self._lengths_V = np.pad(self._lengths_V, (0, missing))
        lengths_T = self._lengths_V[ids_T]
        if lengths_T.all():
            return lengths_T
        added = self.tokenizer.get_added_tokens_decoder()
        for token_id in np.unique(ids_T[lengths_T == 0]).tolist():
            # the alphabet of byte-level tokens has a character for each byte; added tokens stand as text
            written = self._written(added[token_id]) if token_id in added else self.tokenizer.id_to_token(token_id)
            self._lengths_V[token_id] = len(written or "")
        return self._lengths_V[ids_T]

    def _written(self, token: AddedToken) -> bytes:
        """The bytes that ``token`` stands for in a text that the tokenizer encodes as it is."""
        return (normalize("NFC", token.content) if token.normalized and self._changes_text else token.content).encode()


def text_steps(tokenizer: Tokenizer) -> tuple[bytes, bytes]:
    """The settings of the normalizer and of the pre-tokenizer, to tell whether they changed: a microsecond."""
    return _settings(tokenizer.normalizer), _settings(tokenizer.pre_tokenizer)


def copied_parts(tokenizer: Tokenizer) -> tuple[dict[int, AddedToken], bytes, bytes]:
    """What may change in ``tokenizer`` while a copy of it stays as it is. Its model may too, but to see that takes its whole vocabulary."""
    return tokenizer.get_added_tokens_decoder(), *text_steps(tokenizer)


def _settings(component: Any) -> bytes:
    settings: bytes = b"null" if component is None else component.__getstate__()
    return settings


def _num_bytes_before(borders: list[int], text: str) -> list[int]:
    """Bytes of ``text`` before each of ``borders`` (ascending), and of all of it."""
    if text.isascii():
        return [*borders, len(text)]
    return list(accumulate(len(text[begin:end].encode()) for begin, end in pairwise([0, *borders, len(text)])))


def _steps(component: Any, key: str) -> list[dict[str, Any]]:
    """The settings of each part of a normalizer or pre-tokenizer, of which a sequence has several under ``key``."""
    settings = json.loads(_settings(component))
    if settings is None:
        return []
    steps: list[dict[str, Any]] = settings[key] if settings["type"] == "Sequence" else [settings]
    return steps
