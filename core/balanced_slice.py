"""One part of a sequence that is split as evenly as its length allows."""

from __future__ import annotations


def balanced_slice(total: int, num_parts: int, part: int) -> slice:
    """Part ``part`` of ``range(total)`` in ``num_parts`` contiguous parts: the first ``total % num_parts`` have one element more.

    Raises:
        IndexError: there is no such part.
    """
    if not 0 <= part < num_parts:
        raise IndexError(f"part {part} of {num_parts}: expected 0 to {num_parts - 1}")
    size, longer = divmod(total, num_parts)
    start = part * size + min(part, longer)
    return slice(start, start + size + (part < longer))
