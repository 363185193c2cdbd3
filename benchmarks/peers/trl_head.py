"""TRL's fused head, as its trainers call it on a CPU: every token is scored, and those without a label are then left out."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from trl.kernels import ChunkedLogProbFunction  # type: ignore[import-not-found]
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE  # type: ignore[import-not-found]

from benchmarks.head_workload import IGNORED, HeadWorkload, policy_loss, sizes
from benchmarks.peers.loop import serve


class _Head:
    """The workload, once it is set up."""

    def setup(self, **workload: Any) -> list[float]:
        """Makes the operands; answers the sizes of the results."""
        self.workload = HeadWorkload(**workload)
        self.operands = self.workload.operands()
        return sizes(self.workload.run(self.call, self.operands))

    def call(self, hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> list[Tensor]:
        """One call of the fused head."""
        outputs = ("entropy",) if self.workload.kind == "entropy" else ()
        logps_T, entropies_T, *_ = ChunkedLogProbFunction.apply(
            hidden_TH,
            weight_VH,
            None,
            labels_T.clamp(min=0),
            self.workload.temperature,
            _CHUNKED_LOGPROB_CHUNK_SIZE,
            None,
            1.0,
            outputs,
        )
        mask_T = labels_T != IGNORED
        logps_T = logps_T.masked_fill(~mask_T, 0)
        if self.workload.kind == "loss":
            return [-logps_T.sum() / mask_T.sum()]
        if self.workload.kind == "policy":
            return [policy_loss(logps_T)]
        return [logps_T] if entropies_T is None else [logps_T, entropies_T]

    def step(self) -> None:
        """Once."""
        self.workload.run(self.call, self.operands)


head = _Head()
serve({"setup": head.setup, "step": head.step})
