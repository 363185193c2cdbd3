"""Expert layers by the kernel :mod:`twinkle.kernels.moe_experts`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from twinkle.core.errors import UnsuitableLayer
from twinkle.kernels.moe_experts import moe_experts, moe_experts_ref
from twinkle.plugins_builtin.kernel._trial import check_attributes, check_equal, check_silu, random_input

_LAYOUT = {"has_gate": True, "has_bias": False, "is_transposed": False, "is_concatenated": True, "_is_expert_parallel": False}
"""What transformers notes at its expert layers, where the layout is the kernel's."""


@dataclass(frozen=True)
class MoeExpertsKernel:
    """``sum over the chosen experts of weight * down(silu(gate x) * up x)``."""

    layers: ClassVar[frozenset[str]] = frozenset({"Qwen3MoeExperts"})

    def __call__(
        self, hidden_TH: Tensor, gate_up_EJH: Tensor, down_EHI: Tensor, expert_index_TK: Tensor, expert_weight_TK: Tensor
    ) -> Tensor:
        """``[T, H]``."""
        return moe_experts(hidden_TH, gate_up_EJH, down_EHI, expert_index_TK, expert_weight_TK)

    def reference(
        self, hidden_TH: Tensor, gate_up_EJH: Tensor, down_EHI: Tensor, expert_index_TK: Tensor, expert_weight_TK: Tensor
    ) -> Tensor:
        """In float32 or wider, expert by expert."""
        return moe_experts_ref(hidden_TH, gate_up_EJH, down_EHI, expert_index_TK, expert_weight_TK)

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        """For expert layers of transformers 5 whose weights lie as ``gate_up_proj`` ``[E, 2 I, H]`` and ``down_proj`` ``[E, H, I]``."""
        needed = ("gate_up_proj", "down_proj", "act_fn", "num_experts", *_LAYOUT)
        check_attributes(layer, needed, "moe_experts", idle=["hidden_dim", "intermediate_dim"])
        other = {name: vars(layer)[name] for name, wanted in _LAYOUT.items() if vars(layer)[name] is not wanted}
        if other:
            raise UnsuitableLayer(f"moe_experts does not fit this {type(layer).__name__}: expected {_LAYOUT}, it has {other}")
        check_silu(layer, "moe_experts")
        check_equal(layer, _forward, _few_tokens(layer), "moe_experts")
        return _forward


def _forward(layer: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    return moe_experts(hidden_states, layer.gate_up_proj, layer.down_proj, top_k_index, top_k_weights)


def _few_tokens(layer: Any) -> tuple[Tensor, Tensor, Tensor]:
    hidden_TH = random_input(layer, 3, layer.gate_up_proj.shape[-1])
    index_TK = torch.arange(3, device=hidden_TH.device)[:, None].expand(3, min(2, layer.num_experts)) % layer.num_experts
    offset_K = torch.arange(index_TK.shape[1], device=hidden_TH.device)
    weights_TK = torch.tensor([[0.75, 0.25]], device=hidden_TH.device, dtype=hidden_TH.dtype).expand(3, 2)[:, : index_TK.shape[1]]
    return hidden_TH, (index_TK + offset_K) % layer.num_experts, weights_TK.contiguous()
