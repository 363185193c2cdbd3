"""The contract of a model backend."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol


class Model(Protocol):
    """Holds weights and runs steps. The public face (``TransformersModel`` ...) has more; these three are what a loop cannot do without."""

    @abstractmethod
    def forward_backward(self, *, inputs: Any, **kwargs: Any) -> Any:
        """Loss and gradients of ``inputs``, added to the open accumulation window; keyword arguments go to the loss by name."""

    @abstractmethod
    def clip_grad_and_step(self, max_grad_norm: float = 1.0, norm_type: float = 2.0) -> Any:
        """At the end of an accumulation window: normalise, clip, step the optimizer, clear gradients, step the schedule."""

    @abstractmethod
    def save(self, name: str | None = None, output_dir: str | None = None) -> Any:
        """Writes a checkpoint and returns its path."""
