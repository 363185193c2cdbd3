"""The contract of a metric."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol


class Metric(Protocol):
    """Accumulates over micro-batches and calculates named values.

    ``accumulate`` also gets, by name, those of ``lr``, ``step``, ``gradient_accumulation_steps``, ``grad_norm`` and the loss's own
    arguments that its signature names.
    """

    @abstractmethod
    def accumulate(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Takes one micro-batch in. Stays on the device: no value is read back here."""

    @abstractmethod
    def calculate(self) -> dict[str, Any]:
        """The values since the last reset, over all ranks; empty where nothing was accumulated."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets everything."""
