"""A model's tokenizer, from files alone: code that lies beside them is never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from tokenizers import AddedToken

from twinkle.core.errors import InvalidArgument, InvalidConfig
from twinkle.core.repository_files import TOKENIZER_FILES, repository_folder
from twinkle.core.suggestion import did_you_mean

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SpecialToken = str | AddedToken


class TokenizerKeywords(TypedDict, total=False):
    """What may be passed on to ``AutoTokenizer.from_pretrained``."""

    add_bos_token: bool
    add_eos_token: bool
    add_prefix_space: bool
    additional_special_tokens: Sequence[SpecialToken]
    bos_token: SpecialToken | None
    chat_template: str | Mapping[str, str] | None
    clean_up_tokenization_spaces: bool
    cls_token: SpecialToken | None
    eos_token: SpecialToken | None
    extra_special_tokens: Sequence[SpecialToken] | Mapping[str, SpecialToken]
    fix_mistral_regex: bool
    from_slow: bool
    gguf_file: str
    legacy: bool
    mask_token: SpecialToken | None
    model_max_length: int
    pad_token: SpecialToken | None
    padding_side: Literal["left", "right"]
    revision: str | None
    sep_token: SpecialToken | None
    subfolder: str
    tokenizer_file: str
    tokenizer_type: str
    truncation_side: Literal["left", "right"]
    trust_remote_code: Literal[False]
    unk_token: SpecialToken | None
    use_fast: bool


_OWN_ARGUMENTS = ("use_chat_template", "max_length", "truncation_strategy", "default_system", "enable_thinking", "append_eos")


def load_tokenizer(model_id: str | Path, keywords: TokenizerKeywords) -> Any:
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
        if key not in TokenizerKeywords.__annotations__:
            known_names = {*TokenizerKeywords.__annotations__, *_OWN_ARGUMENTS}
            raise InvalidArgument(f"Template does not take the argument {key!r}.{did_you_mean(key, known_names)}")
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
