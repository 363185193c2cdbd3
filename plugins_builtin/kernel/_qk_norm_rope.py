"""Attention layers that normalise queries and keys before they rotate them, by the kernel :mod:`twinkle.kernels.qk_norm_rope`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from twinkle.core.errors import UnsuitableLayer
from twinkle.kernels.qk_norm_rope import qk_norm_rope, qk_norm_rope_ref


@dataclass(frozen=True)
class QKNormRopeKernel:
    """``rope(rms_norm(q)), rope(rms_norm(k))``."""

    layers: ClassVar[frozenset[str]] = frozenset({"Qwen3Attention", "Qwen3MoeAttention"})

    eps: float = 1e-6
    """Added to the mean of squares. A layer brings its own."""

    def __call__(
        self, q_BSTD: Tensor, k_BSTD: Tensor, q_weight_D: Tensor, k_weight_D: Tensor, cos_BTR: Tensor, sin_BTR: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys; the angles are constants."""
        return qk_norm_rope(q_BSTD, k_BSTD, q_weight_D, k_weight_D, cos_BTR.detach(), sin_BTR.detach(), self.eps)

    def reference(
        self, q_BSTD: Tensor, k_BSTD: Tensor, q_weight_D: Tensor, k_weight_D: Tensor, cos_BTR: Tensor, sin_BTR: Tensor
    ) -> tuple[Tensor, Tensor]:
        """In float32 or wider."""
        return qk_norm_rope_ref(q_BSTD, k_BSTD, q_weight_D, k_weight_D, cos_BTR.detach(), sin_BTR.detach(), self.eps)

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        """For attention layers with ``q_norm`` and ``k_norm`` over each head. These two are read, no longer called."""
        from twinkle.plugins_builtin.kernel._attention import attention_with, check_attention, check_equal_attention

        check_attention(layer, ("q_norm", "k_norm"), "qk_norm_rope")
        forward = attention_with(_normalise_and_rotate)
        check_equal_attention(layer, forward, "qk_norm_rope")
        if layer.q_norm.variance_epsilon != layer.k_norm.variance_epsilon:
            raise UnsuitableLayer(
                f"qk_norm_rope does not fit this {type(layer).__name__}: expected one variance_epsilon for queries and keys, "
                f"got {layer.q_norm.variance_epsilon} and {layer.k_norm.variance_epsilon}"
            )
        return forward


def _normalise_and_rotate(layer: Any, q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> tuple[Tensor, Tensor]:
    return qk_norm_rope(q_BSTD, k_BSTD, layer.q_norm.weight, layer.k_norm.weight, cos_BTR, sin_BTR, layer.q_norm.variance_epsilon)
