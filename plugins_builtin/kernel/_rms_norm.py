"""RMSNorm layers by the kernel :mod:`twinkle.kernels.rms_norm`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from twinkle.kernels.rms_norm import rms_norm, rms_norm_ref
from twinkle.plugins_builtin.kernel._trial import check_attributes, check_equal, random_input


@dataclass(frozen=True)
class RMSNormKernel:
    """``x / rms(x) * (weight + offset)``."""

    layers: ClassVar[frozenset[str]] = frozenset({"LlamaRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "Qwen3MoeRMSNorm"})

    eps: float = 1e-6
    """Added to the mean of squares. A layer brings its own."""
    offset: float = 0.0
    """What the stored weight lacks: 1 for Gemma."""

    def __call__(self, x: Tensor, weight_H: Tensor) -> Tensor:
        """In the shape of ``x``."""
        return rms_norm(x, weight_H, self.eps, offset=self.offset)

    def reference(self, x: Tensor, weight_H: Tensor) -> Tensor:
        """In float32 or wider."""
        return rms_norm_ref(x, weight_H, self.eps, offset=self.offset)

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        """For layers with ``weight`` and ``variance_epsilon`` or, as those with an offset call it, ``eps``."""
        epsilon = "eps" if "eps" in vars(layer) else "variance_epsilon"
        check_attributes(layer, ("weight", epsilon), "rms_norm")
        forward = partial(_forward, epsilon=epsilon, offset=self.offset)
        check_equal(layer, forward, [random_input(layer, 3, layer.weight.shape[-1])], "rms_norm")
        return forward


def _forward(layer: Any, hidden_states: Tensor, *, epsilon: str, offset: float) -> Tensor:
    return rms_norm(hidden_states, layer.weight, vars(layer)[epsilon], offset=offset)
