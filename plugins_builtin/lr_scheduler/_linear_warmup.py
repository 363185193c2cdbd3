"""Linear warm-up, then linear decay to zero."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class LinearWarmupScheduler(LambdaLR):
    """``lr(s) = lr * s / W`` for ``s < W``, then ``lr * max(0, (N - s) / (N - W))``, with s optimizer steps so far.

    W is ``num_warmup_steps``, N ``num_training_steps``; as ``transformers.get_linear_schedule_with_warmup``.
    """

    def __init__(self, optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int) -> None:
        """
        Args:
            num_warmup_steps: optimizer steps of warm-up; may be more than there are steps in all.
            num_training_steps: optimizer steps in all (not batches: with gradient accumulation there are fewer steps).
        """
        self.num_warmup_steps = num_warmup_steps
        self.num_training_steps = num_training_steps
        super().__init__(optimizer, self._factor)

    def _factor(self, step: int) -> float:
        if step < self.num_warmup_steps:
            return step / max(1, self.num_warmup_steps)
        return max(0.0, (self.num_training_steps - step) / max(1, self.num_training_steps - self.num_warmup_steps))
