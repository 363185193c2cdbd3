"""What an output projection has to do, for a benchmark and its side-cars alike: the same operands, and the same way to run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

VOCABULARY = 151_936
"""Of Qwen3."""
IGNORED = -100
"""The label of a token that counts for nothing."""

Kind = Literal["loss", "policy", "logprob", "entropy"]
"""``loss``: the mean over labelled tokens and its gradient by hidden; ``policy``: the same of :func:`policy_loss`, at a temperature;
without a gradient: ``logprob`` of labels, ``entropy`` also."""

Call = Callable[[Tensor, Tensor, Tensor], list[Tensor]]
"""``(hidden_TH, weight_VH, labels_T)`` -> the loss; or log-probabilities; or log-probabilities and entropies."""


def policy_loss(logps_T: Tensor) -> Tensor:
    """The first step of GRPO: ratios are one, and each token's gradient has an advantage of its own, some positive, some negative."""
    advantages_T = torch.linspace(-1, 2, len(logps_T))
    return -((logps_T - logps_T.detach()).exp() * advantages_T).mean()


@dataclass(frozen=True, kw_only=True)
class HeadWorkload:
    """A frozen projection of Qwen3's vocabulary."""

    kind: Kind
    num_tokens: int
    hidden_size: int
    dtype: str
    masked_share: float = 0.0
    """What part of the tokens has no label."""

    @property
    def has_gradient(self) -> bool:
        """Whether the result is a loss, and its gradient is asked for."""
        return self.kind in ("loss", "policy")

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return 0.7 if self.kind == "policy" else 1.0

    @property
    def num_labelled(self) -> int:
        """Tokens that have one."""
        return self.num_tokens - round(self.num_tokens * self.masked_share)

    @property
    def flops(self) -> int:
        """Of the products that labelled tokens need: one for logits, one for the gradient."""
        return (4 if self.has_gradient else 2) * self.num_labelled * self.hidden_size * VOCABULARY

    def operands(self) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden, weight and labels, the same in every process; logits have a standard deviation of 2."""
        generator = torch.Generator().manual_seed(0)
        dtype = getattr(torch, self.dtype)
        hidden_TH = 2 * torch.randn(self.num_tokens, self.hidden_size, generator=generator)
        weight_VH = torch.randn(VOCABULARY, self.hidden_size, generator=generator) / self.hidden_size**0.5
        labels_T = torch.randint(0, VOCABULARY, (self.num_tokens,), generator=generator)
        labels_T[torch.randperm(self.num_tokens, generator=generator)[self.num_labelled :]] = IGNORED
        return hidden_TH.to(dtype).requires_grad_(self.has_gradient), weight_VH.to(dtype), labels_T

    def run(self, call: Call, operands: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Once: the loss and its gradient, or what ``call`` gives of labelled tokens."""
        if self.has_gradient:
            [loss] = call(*operands)
            return [loss.detach(), *torch.autograd.grad(loss, operands[0])]
        with torch.no_grad():
            return call(*operands)


def sizes(results: list[Tensor]) -> list[float]:
    """Norms, by which a side-car tells what it found."""
    return [float(result.double().norm()) for result in results]
