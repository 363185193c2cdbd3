"""Gated MLP layers by the kernel :mod:`twinkle.kernels.swiglu`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from twinkle.kernels.swiglu import swiglu, swiglu_ref
from twinkle.plugins_builtin.kernel._trial import check_attributes, check_equal, check_silu, random_input


@dataclass(frozen=True)
class SwiGLUKernel:
    """``silu(gate) * up``."""

    layers: ClassVar[frozenset[str]] = frozenset({"LlamaMLP", "Qwen2MLP", "Qwen3MLP", "Qwen3MoeMLP"})

    _tried: set[type] = field(default_factory=set, init=False, repr=False, compare=False)

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """In the shape and dtype of both."""
        return swiglu(gate, up)

    def reference(self, gate: Tensor, up: Tensor) -> Tensor:
        """In float32 or wider."""
        return swiglu_ref(gate, up)

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        """For layers ``down_proj(silu(gate_proj(x)) * up_proj(x))``; the projections are called, whatever they are by then."""
        check_attributes(layer, ("gate_proj", "up_proj", "down_proj", "act_fn", "hidden_size"), "swiglu")
        check_silu(layer, "swiglu")
        if type(layer) not in self._tried:
            check_equal(layer, _forward, [random_input(layer, 2, layer.hidden_size)], "swiglu")
            self._tried.add(type(layer))
        return _forward


def _forward(layer: Any, x: Tensor) -> Tensor:
    out: Tensor = layer.down_proj(swiglu(layer.gate_proj(x), layer.up_proj(x)))
    return out
