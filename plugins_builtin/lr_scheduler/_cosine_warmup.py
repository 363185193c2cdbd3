"""Linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class CosineWarmupScheduler(LambdaLR):
    """``lr(s) = lr * s / W`` for ``s < W``, then ``lr * (1 + cos(2 pi C (s - W) / (N - W))) / 2``, with s optimizer steps so far.

    W is ``num_warmup_steps``, N ``num_training_steps``, C ``num_cycles``. Loshchilov and Hutter 2017 (arXiv 1608.03983, eq. 5) without
    restarts; as ``transformers.get_cosine_schedule_with_warmup``, so the very first step of a warm-up has learning rate 0.
    """

    def __init__(self, optimizer: Optimizer, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5) -> None:
        """
        Args:
            num_warmup_steps: optimizer steps of warm-up; may be more than there are steps in all.
            num_training_steps: optimizer steps in all (not batches: with gradient accumulation there are fewer steps).
            num_cycles: 0.5 ends at zero.
        """
        self.num_warmup_steps = num_warmup_steps
        self.num_training_steps = num_training_steps
        self.num_cycles = num_cycles
        super().__init__(optimizer, self._factor)

    def _factor(self, step: int) -> float:
        if step < self.num_warmup_steps:
            return step / max(1, self.num_warmup_steps)
        progress = (step - self.num_warmup_steps) / max(1, self.num_training_steps - self.num_warmup_steps)
        return max(0.0, 0.5 * (1.0 + math.cos(2.0 * math.pi * self.num_cycles * progress)))
