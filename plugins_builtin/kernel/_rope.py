"""Attention layers, and the function that rotates for them, by the kernel :mod:`twinkle.kernels.rope`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from twinkle.kernels.rope import rope, rope_ref


@dataclass(frozen=True)
class RopeKernel:
    """Rotary position embedding of queries and keys."""

    layers: ClassVar[frozenset[str]] = frozenset({"LlamaAttention", "Qwen2Attention"})

    def __call__(self, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        """In the place of transformers' ``apply_rotary_pos_emb``; the angles are constants.

        Args:
            q: ``[B, heads, T, D]``, or ``[B, T, heads, D]`` with ``unsqueeze_dim=2``.
            cos: ``[B or 1, T, R]``.
        """
        angles = cos.detach(), sin.detach()
        if unsqueeze_dim == 2:
            q_out, k_out = rope(q.transpose(1, 2), k.transpose(1, 2), *angles)
            return q_out.transpose(1, 2), k_out.transpose(1, 2)
        return rope(q, k, *angles)

    def reference(self, q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> tuple[Tensor, Tensor]:
        """In float32 or wider."""
        angles = cos_BTR.detach(), sin_BTR.detach()
        return rope_ref(q_BSTD, *angles), rope_ref(k_BSTD, *angles)

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        """For attention layers that rotate what their projections give."""
        from twinkle.plugins_builtin.kernel._attention import attention_with, check_attention, check_equal_attention

        check_attention(layer, (), "rope")
        forward = attention_with(_rotate)
        check_equal_attention(layer, forward, "rope")
        return forward


def _rotate(layer: Any, q_BSTD: Tensor, k_BSTD: Tensor, cos_BTR: Tensor, sin_BTR: Tensor) -> tuple[Tensor, Tensor]:
    return rope(q_BSTD, k_BSTD, cos_BTR, sin_BTR)
