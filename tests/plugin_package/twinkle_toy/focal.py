"""Focal loss: tokens that the model is sure of count less."""

from twinkle.loss import Loss


class FocalLoss(Loss):
    """``-sum_t (1 - p_t)^gamma log p_t`` over the trained tokens (Lin et al. 2017, arXiv 1708.02002, eq. 4)."""

    def __init__(self, gamma: float = 2.0):
        self.gamma = gamma

    def __call__(self, inputs, outputs):
        """A sum and what it is divided by; Twinkle divides, over the whole batch and all ranks."""
        trained = inputs["labels"] != -100
        logps = outputs["logps"][trained]
        loss = -((1 - logps.exp()) ** self.gamma * logps).sum()
        return {"loss": loss, "num_tokens": trained.sum(), "domain": "token"}
