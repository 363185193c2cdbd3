"""Did-you-mean for names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that proposes up to three of ``known`` close to ``name``, else lists them; starts with a space, may be empty."""
    names = sorted(set(known))
    if not names:
        return ""
    by_folded = {n.lower().replace("_", ""): n for n in reversed(names)}
    close = difflib.get_close_matches(name.lower().replace("_", ""), by_folded, n=3, cutoff=0.6)
    if close:
        return " Did you mean " + " or ".join(repr(by_folded[c]) for c in close) + "?"
    shown = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
    return f" Known: {shown}."
