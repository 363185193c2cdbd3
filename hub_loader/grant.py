"""A grant: somebody approved exactly these bytes, from there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from twinkle.core.errors import InvalidConfig, InvalidRef
from twinkle.core.refs import HubRef, parse

_H1 = re.compile(r"h1:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Consent to one digest of one repository. The digest is the authority; the name only says where to get the bytes."""

    repo: str
    """``scheme://owner/name``."""
    commit: str
    h1: str
    why: str
    """What stands in ``Resolved.trust``: "lock:<line>", "store:<when>", "env"."""
    requested: str | None = None
    """The revision as it was written when consent was given; None for the default branch."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Path -> sha256 of each file, to name the one that differs."""

    @property
    def is_locked(self) -> bool:
        """Whether a lock line gives it."""
        return self.why.startswith("lock:")


def is_h1(text: str) -> bool:
    """Whether ``text`` is written as a digest is."""
    return _H1.fullmatch(text) is not None


def repo_of(ref: HubRef) -> str:
    """``scheme://owner/name``."""
    return f"{ref.scheme}://{ref.owner}/{ref.repo}"


def grants_of_environment(trusted: Iterable[str]) -> tuple[Grant, ...]:
    """The grants of ``TWINKLE_TRUST``: ``ms://owner/repo@<40-digit commit>#h1:<64 digits>``.

    Raises:
        InvalidConfig: an entry is not exact.
    """
    grants = []
    for text in trusted:
        name, _, h1 = text.partition("#")
        try:
            ref = parse(name)
        except InvalidRef as error:
            raise InvalidConfig(f"TWINKLE_TRUST: {error}") from None
        if not isinstance(ref, HubRef) or not ref.is_pinned or ref.revision is None or not is_h1(h1):
            raise InvalidConfig(f"TWINKLE_TRUST: {text!r}: expected 'ms://owner/repo@<40-digit commit>#h1:<64 hexadecimal digits>'")
        grants.append(Grant(repo=repo_of(ref), commit=ref.revision, h1=h1, why="env", requested=ref.revision))
    return tuple(grants)
