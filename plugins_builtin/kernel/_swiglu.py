"""Gated MLP layers by the kernel :mod:`twinkle.kernels.swiglu`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from twinkle.kernels.swiglu import swiglu, swiglu_ref
from twinkle.plugins_builtin.kernel._trial import check_attributes, check_equal, check_silu, random_input


@dataclass(frozen=True)
class SwiGLUKernel:
    """``silu(gate) * up``."""

    layers: ClassVar[frozenset[str]] = frozenset({"LlamaMLP", "Qwen2MLP", "Qwen3MLP", "Qwen3MoeMLP"})

    def __call__(self, gate: Tensor, up: Tensor) -> Tensor:
        """In the shape and dtype of both."""
        return swiglu(gate, up)

    def reference(self, gate: Tensor, up: Tensor) -> Tensor:
        """In float32 or wider."""
        return swiglu_ref(gate, up)

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        """For layers ``down_proj(silu(gate_proj(x)) * up_proj(x))``; the projections are called, whatever they are by then."""
        needed = ("gate_proj", "up_proj", "down_proj", "act_fn", "hidden_size")
        check_attributes(layer, needed, "swiglu", idle=["intermediate_size"])
        check_silu(layer, "swiglu")
        check_equal(layer, _forward, [random_input(layer, 2, layer.hidden_size)], "swiglu")
        return _forward


def _forward(layer: Any, x: Tensor) -> Tensor:
    out: Tensor = layer.down_proj(swiglu(layer.gate_proj(x), layer.up_proj(x)))
    return out
