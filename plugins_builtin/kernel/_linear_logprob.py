"""The output projection and the log-probabilities behind it, by :mod:`twinkle.kernels.linear_logprob`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from twinkle.kernels.linear_logprob import linear_logprob, linear_logprob_ref


@dataclass(frozen=True)
class LinearLogprobKernel:
    """``log softmax((hidden W^T) / temperature)[labels]``, without the logits of all tokens."""

    temperature: float = 1.0
    """Logits are divided by it."""

    def __call__(self, hidden_NH: Tensor, weight_VH: Tensor, labels_N: Tensor) -> Tensor:
        """Log-probabilities ``[N]``."""
        return linear_logprob(hidden_NH, weight_VH, labels_N, temperature=self.temperature).logps_N

    def reference(self, hidden_NH: Tensor, weight_VH: Tensor, labels_N: Tensor) -> Tensor:
        """From whole logits in float32 or wider."""
        return linear_logprob_ref(hidden_NH, weight_VH, labels_N, temperature=self.temperature).logps_N
