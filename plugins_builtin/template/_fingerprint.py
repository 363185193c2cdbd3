"""What encoding with a template depends on, so that its results may be kept across runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

_CLOCK = "strftime_now"
"""The function by which a chat template writes the date of today."""


def encoding_fingerprint(tokenizer: Any, backend: str, settings: Mapping[str, Any]) -> str | None:
    """A digest of ``settings``, tokenizer (``backend`` is its JSON), chat templates and code; None where a template reads the clock."""
    templates = json.dumps(tokenizer.chat_template, sort_keys=True)
    if _CLOCK in templates:
        return None
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    parts = [
        json.dumps(dict(settings), sort_keys=True),
        templates,
        json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str),
        *(version(package) for package in ("transformers", "tokenizers", "jinja2")),
        hashlib.sha256(backend.encode()).hexdigest(),
        hashlib.sha256(code).hexdigest(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
