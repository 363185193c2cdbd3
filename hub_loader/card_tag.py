"""What the tags of a repository's card say of its components."""

from __future__ import annotations

from collections.abc import Iterable

from twinkle.core.contracts.component_hub import COMPONENT_TAG

_KIND_TAG = "twinkle-"


def has_component_tag(tags: Iterable[str]) -> bool:
    """Whether ours is among them, plain or as ``custom_tag:...``."""
    return any(_plain(tag) == COMPONENT_TAG for tag in tags)


def kinds_of(tags: Iterable[str]) -> str:
    """``twinkle-loss, twinkle-reward`` -> ``loss, reward``."""
    plain = (_plain(tag) for tag in tags)
    return ", ".join(sorted(tag.removeprefix(_KIND_TAG) for tag in plain if tag.startswith(_KIND_TAG) and tag != COMPONENT_TAG))


def _plain(tag: str) -> str:
    return tag.rpartition(":")[2]
