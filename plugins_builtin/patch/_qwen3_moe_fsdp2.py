"""Qwen3-MoE of transformers 4 under FSDP2: every expert takes part in every step, on every rank."""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twinkle.core.applicability import Applicability, NotNeeded, PatchEnvironment
from twinkle.core.contracts.patch import Journal

_BLOCK = "Qwen3MoeSparseMoeBlock"
_RANGE = {"transformers": ">=4.52,<5"}


class Qwen3MoeFsdp2Patch:
    """Runs all experts of a Qwen3-MoE block in order; those without a token get a row of zeros, which gives zero and has gradient zero.

    transformers 4 runs only the experts that some token of this rank chose. FSDP2 then reduces the gradients of different experts on
    different ranks: with unequal numbers of them the collectives do not match and the run hangs or aborts, with equal numbers the gradients
    of different experts are mixed, silently. transformers 5 keeps all experts in one module, which takes part as a whole.
    """

    def applies(self, environment: PatchEnvironment) -> Applicability:
        """Only where transformers 4 runs the experts one by one."""
        version = environment.version_of("transformers") or ""
        if version.partition(".")[0] == "5":
            return NotNeeded(
                f"transformers {version} keeps the experts of a block in one module, so that all of them take part in every step"
            )
        if not _blocks(environment.target):
            return NotNeeded(f"{type(environment.target).__name__} has no {_BLOCK}")
        return environment.in_range(_RANGE)

    def apply(self, target: nn.Module, journal: Journal) -> None:
        """Gives each block of ``target`` a forward pass of its own; the class stays as it is."""
        for block in _blocks(target):
            journal.setattr(block, "forward", types.MethodType(_forward, block))


def _blocks(target: object) -> list[nn.Module]:
    return [m for m in target.modules() if any(c.__name__ == _BLOCK for c in type(m).__mro__)] if isinstance(target, nn.Module) else []


def _forward(block: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
    """``sum over the chosen experts e of w_e expert_e(x)`` of each token, and the router's logits.

    ``w`` is the softmax over all experts at the chosen ones, made to add up to 1 where the model says so.
    T tokens, H hidden size, K experts a token.
    """
    hidden_TH = hidden_states.flatten(0, -2)
    router_logits = block.gate(hidden_TH)
    weights_TK, chosen_TK = torch.topk(F.softmax(router_logits, dim=-1, dtype=torch.float), block.top_k, dim=-1)
    if block.norm_topk_prob:
        weights_TK = weights_TK / weights_TK.sum(dim=-1, keepdim=True)
    weights_TK = weights_TK.to(hidden_TH.dtype)
    out_TH = torch.zeros_like(hidden_TH)
    for number, expert in enumerate(block.experts):
        token, place = torch.where(chosen_TK == number)
        if token.numel():
            out_TH = out_TH.index_add(0, token, expert(hidden_TH[token]) * weights_TK[token, place, None])
        else:
            # Zeros that hang on the graph: FSDP2 reduces an expert's gradients when the gradient of its input has been made.
            out_TH = out_TH.index_add(0, token.new_zeros(1), expert(hidden_TH[:1] * 0.0))
    return out_TH.view_as(hidden_states), router_logits
