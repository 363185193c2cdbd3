"""The contract of a kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable


class Kernel(Protocol):
    """A fast implementation and, beside it, the plain one that it must equal."""

    @abstractmethod
    def __call__(self, *tensors: Any) -> Any:
        """The fast path for the device that the tensors are on."""

    @abstractmethod
    def reference(self, *tensors: Any) -> Any:
        """The same in float32 and plain torch: what tests compare with, and what runs where there is no fast path."""


@runtime_checkable
class LayerKernel(Protocol):
    """A kernel that can take over the forward pass of a layer. Optional: one without this replaces functions alone."""

    layers: frozenset[str]
    """Class names of the layers that it is known to fit: ``kernelize(model)`` without a mapping takes them from the built-in kernels.

    A mapping that gives it layers of another class is refused, unless this is empty or the kernel is built in: those try every layer.
    """

    @abstractmethod
    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        """``forward(layer, *inputs)``, which is bound to ``layer`` in place of its own and reads its weights at each call.

        It keeps nothing of ``layer``: copies of a model share it.

        Raises:
            UnsuitableLayer: this layer computes something else; the message says what was expected.
        """
