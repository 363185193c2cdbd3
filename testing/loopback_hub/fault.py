"""What can go wrong on the way: put into ``LoopbackHub.faults`` and applied to every answer whose path matches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["status", "flip", "truncate", "wrong_length", "slow", "redirect", "endless", "listing"]


@dataclass(kw_only=True)
class Fault:
    """One fault.

    ``status`` answers with ``status``; ``flip`` changes one byte and keeps the length; ``truncate`` closes the connection in the middle;
    ``wrong_length`` announces one byte more than it sends; ``slow`` sends a byte a time with pauses; ``redirect`` answers 302 to
    ``location``; ``endless`` streams without an end; ``listing`` puts ``entries`` (path -> size) into file listings.
    """

    kind: Kind
    path: str = ""
    """A regular expression that is searched in ``METHOD path?query``."""
    times: int = -1
    """How often; -1 is always."""
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str = ""
    entries: Mapping[str, int] = field(default_factory=dict)
    is_link: bool = False
    """``listing``: whether the entries are symbolic links."""
    pause_s: float = 0.05

    def take(self, line: str) -> bool:
        """Whether the fault applies to the request ``line``; counts it."""
        if self.times == 0 or not re.search(self.path, line):
            return False
        self.times -= 1 if self.times > 0 else 0
        return True
