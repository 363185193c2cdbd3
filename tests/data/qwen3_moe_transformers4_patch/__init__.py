"""Qwen3-MoE of transformers 4: every expert of a block takes part in every step, whether or not a token chose it."""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from twinkle.patch import Patch

_BLOCK = "Qwen3MoeSparseMoeBlock"


class Qwen3MoeTransformers4Patch(Patch):
    """Gives each block of a model a forward pass that calls all of its experts, with a row of zeros where no token is theirs.

    Under FSDP2 transformers 4 aborts, hangs or mixes gradients without it, because each rank runs only the experts its own tokens chose.
    """

    def __call__(self, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Changes ``module`` in place.

        Raises:
            RuntimeError: this is not transformers 4. A return would look like a patch that was applied.
            ValueError: ``module`` has no block to patch.
        """
        version = transformers.__version__
        if version.partition(".")[0] != "4":
            raise RuntimeError(
                f"qwen3_moe_transformers4_patch is for transformers 4, installed is {version}. From transformers 5 on all experts of a "
                "block are one module and take part as a whole, so nothing is to be patched: leave this patch out, or apply the built-in "
                "'qwen3_moe_fsdp2', which does nothing where it is not needed"
            )
        blocks = [m for m in module.modules() if any(base.__name__ == _BLOCK for base in type(m).__mro__)]
        if not blocks:
            raise ValueError(f"qwen3_moe_transformers4_patch expects a Qwen3-MoE model, {type(module).__name__} has no {_BLOCK}")
        for block in blocks:
            block.forward = types.MethodType(_forward, block)


def _forward(self: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
    """What transformers 4 computes: the experts' outputs, weighted by the router, and the router's logits."""
    hidden = hidden_states.reshape(-1, hidden_states.shape[-1])
    router_logits = self.gate(hidden)
    weights, chosen = torch.topk(F.softmax(router_logits, dim=1, dtype=torch.float), self.top_k, dim=-1)
    if self.norm_topk_prob:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    weights = weights.to(hidden.dtype)
    output = torch.zeros_like(hidden)
    mask = F.one_hot(chosen, num_classes=len(self.experts)).permute(2, 1, 0)
    for expert, its_mask in zip(self.experts, mask, strict=True):
        place, token = torch.where(its_mask)
        if len(token):
            output = output.index_add(0, token, expert(hidden[token]) * weights[token, place, None])
        else:
            # Not torch.zeros: these hang on the graph, so FSDP2 reduces this expert where the other rank, which has tokens for it, does.
            output = output.index_add(0, token.new_zeros(1), expert(hidden[:1] * 0.0))
    return output.reshape(hidden_states.shape), router_logits
