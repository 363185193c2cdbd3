"""Bits per token."""

import math

from twinkle.metric import Metric


class BitsPerToken(Metric):
    """``-mean_t log2 p_t`` over the trained tokens since the last reset."""

    def __init__(self):
        self.reset()

    def accumulate(self, inputs, outputs):
        trained = inputs["labels"] != -100
        self._nats = self._nats - outputs["logps"][trained].detach().sum()
        self._num_tokens = self._num_tokens + trained.sum()

    def calculate(self):
        if int(self._num_tokens) == 0:
            return {}
        return {"bits_per_token": float(self._nats) / math.log(2) / int(self._num_tokens)}

    def reset(self):
        self._nats = self._num_tokens = 0
