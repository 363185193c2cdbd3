"""twinkle-kit's two ways from hidden states to a loss: selected log-probabilities, its default, and the cross-entropy that goes by chunks.

Both start from the logits of every token; the first goes row by row over a batch of four.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from benchmarks.head_workload import HeadWorkload, policy_loss, sizes
from benchmarks.peers.loop import serve
from twinkle.loss.chunked_cross_entropy import ChunkedCrossEntropyLoss  # type: ignore[import-not-found]
from twinkle.loss.cross_entropy import CrossEntropyLoss  # type: ignore[import-not-found]
from twinkle.utils.torch_utils import selective_log_softmax  # type: ignore[import-not-found]

ROWS = 4
CHUNK = 64


class _Head:
    """The workload, once it is set up."""

    def setup(self, *, chunked: bool, **workload: Any) -> list[float]:
        """Makes the operands; answers the sizes of the results."""
        self.workload = HeadWorkload(**workload)
        self.operands = self.workload.operands()
        self.call = self.by_chunk if chunked else self.by_selection
        return sizes(self.workload.run(self.call, self.operands))

    def by_selection(self, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> list[Tensor]:
        """As its model does where a loss wants log-probabilities."""
        logits_RLV = (hidden_TH @ weight_VH.T).view(ROWS, -1, len(weight_VH))
        labels_RL = labels_T.view(ROWS, -1)
        masked_RL = labels_RL.masked_fill(labels_RL < 0, 0)
        logits_RLV.div_(self.workload.temperature)
        if self.workload.kind == "entropy":
            return [values_RL.flatten() for values_RL in selective_log_softmax(logits_RLV, masked_RL, return_entropy=True)]
        logps_RL = selective_log_softmax(logits_RLV, masked_RL)
        if self.workload.kind == "logprob":
            return [logps_RL.flatten()]
        if self.workload.kind == "policy":
            return [policy_loss(logps_RL.flatten())]
        return [CrossEntropyLoss()({"labels": labels_RL}, {"logps": logps_RL})["loss"]]

    def by_chunk(self, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> list[Tensor]:
        """As its model does with this loss, which wants logits."""
        logits_TV = hidden_TH @ weight_VH.T
        return [ChunkedCrossEntropyLoss(chunk_size=CHUNK)({"labels": labels_T}, {"logits": logits_TV})["loss"]]

    def step(self) -> None:
        """Once."""
        self.workload.run(self.call, self.operands)


head = _Head()
serve({"setup": head.setup, "step": head.step})
