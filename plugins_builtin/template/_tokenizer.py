"""A model's tokenizer, from files alone: code that lies beside them is never run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinkle.core.errors import InvalidArgument, InvalidConfig
from twinkle.core.repository_files import TOKENIZER_FILES, repository_folder
from twinkle.core.suggestion import did_you_mean

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KEYWORDS = frozenset(
    {
        *("add_bos_token", "add_eos_token", "add_prefix_space", "additional_special_tokens", "bos_token", "chat_template"),
        *("clean_up_tokenization_spaces", "cls_token", "eos_token", "extra_special_tokens", "fix_mistral_regex", "from_slow", "gguf_file"),
        *("legacy", "mask_token", "model_max_length", "pad_token", "padding_side", "sep_token", "subfolder"),
        *("tokenizer_file", "tokenizer_type", "truncation_side", "unk_token", "use_fast"),
    }
)
"""What may be passed on to ``AutoTokenizer.from_pretrained``."""
_OWN_ARGUMENTS = ("use_chat_template", "max_length", "truncation_strategy", "default_system", "enable_thinking", "append_eos")


def load_tokenizer(model_id: str | Path, keywords: dict[str, Any]) -> Any:
    """The transformers tokenizer of ``model_id`` (a folder, or a repository id of which the tokenizer's files are fetched).

    Raises:
        InvalidArgument: a keyword that a tokenizer does not take.
        InvalidConfig: the files hold no tokenizer that can be loaded without running code of theirs.
    """
    from transformers import AutoTokenizer

    if keywords.get("trust_remote_code"):
        raise InvalidArgument("trust_remote_code: a template never runs code of a model's repository; leave the argument out")
    known = {key: value for key, value in keywords.items() if key not in ("trust_remote_code", "revision")}
    for key in known:
        if key not in KEYWORDS:
            raise InvalidArgument(f"Template does not take the argument {key!r}.{did_you_mean(key, {*KEYWORDS, *_OWN_ARGUMENTS})}")
    revision = keywords.get("revision")
    folder = repository_folder(model_id if revision is None else f"{model_id}@{revision}", "model", TOKENIZER_FILES)
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **known)
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{folder} has no tokenizer that can be loaded from its files alone: {error}") from error


def rust_tokenizer(tokenizer: Any, model_id: str) -> Tokenizer:
    """The Rust tokenizer behind ``tokenizer``, which encodes in batches and gives character offsets.

    Raises:
        InvalidConfig: a tokenizer written in Python.
    """
    if not tokenizer.is_fast:
        raise InvalidConfig(
            f"the tokenizer of {model_id!r} ({type(tokenizer).__name__}) gives no character offsets, which tell the trained tokens "
            "from the rest: a fast tokenizer is needed, that is a tokenizer.json (transformers' convert_slow_tokenizer makes one)"
        )
    backend: Tokenizer = tokenizer.backend_tokenizer
    return backend


def untrimmed(backend: Tokenizer) -> Tokenizer:
    """``backend``, or a copy of it whose offsets cover all characters of a token.

    GPT-2 and Llama-3 trim white space from their offsets, which hides where a token begins. It is their post-processor that does so: the
    copy (0.6 s with 150,000 tokens) has none.
    """
    if backend.encode("a b", add_special_tokens=False).offsets[-1] != (2, 3) or backend.post_processor is None:
        return backend
    copied = copy.deepcopy(backend)
    copied.post_processor = None
    return copied
