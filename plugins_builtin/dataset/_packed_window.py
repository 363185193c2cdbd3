"""Packing a stream: a window of samples at a time, what does not fill a bin waits for the next window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twinkle.plugins_builtin.dataset._bin_packing import pack

T = TypeVar("T")
_FULL = 0.99
"""A bin that is filled to this part or more does not wait."""


@dataclass(slots=True)
class PackedWindow(Generic[T]):
    """Samples in, bins of samples out. At most half a window waits, so that every window brings new samples."""

    capacity: int
    window: int
    """Samples that are packed together."""
    _samples: list[tuple[T, int]] = field(default_factory=list)

    def add(self, sample: T, length: int) -> Iterator[list[T]]:
        """The bins that are full once ``sample`` has come.

        Raises:
            ValueError: ``length`` is below 1 or above the capacity.
        """
        if not 1 <= length <= self.capacity:
            raise ValueError(f"a sample has length {length}: expected 1 to the capacity {self.capacity}")
        self._samples.append((sample, length))
        if len(self._samples) >= self.window:
            yield from self._pack(self.window // 2)

    def flush(self) -> Iterator[list[T]]:
        """The bins of everything that still waits."""
        yield from self._pack(0)

    def _pack(self, max_waiting: int) -> Iterator[list[T]]:
        samples, self._samples = self._samples, []
        bins = [packed.tolist() for packed in pack([length for _, length in samples], self.capacity)]
        fills = [sum(samples[number][1] for number in numbers) / self.capacity for numbers in bins]
        waiting: set[int] = set()
        for place in sorted(range(len(bins)), key=fills.__getitem__):
            if fills[place] >= _FULL or len(bins[place]) > max_waiting:
                break
            max_waiting -= len(bins[place])
            waiting.add(place)
        self._samples = [samples[number] for number in sorted(number for place in waiting for number in bins[place])]
        yield from ([samples[number][0] for number in numbers] for place, numbers in enumerate(bins) if place not in waiting)
