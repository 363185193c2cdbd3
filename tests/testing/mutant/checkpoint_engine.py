"""A checkpoint engine in memory, and wrong ones."""

from __future__ import annotations

import queue
from typing import Any

from twinkle.testing import Example


class GoodEngine:
    """A queue."""

    def __init__(self) -> None:
        self.sent: queue.Queue[Any] = queue.Queue()

    def send_weights(self, weights: Any, version: int) -> None:
        self.sent.put((version, [(name, tensor.clone()) for name, tensor in weights]))

    def receive_weights(self) -> Any:
        version, weights = self.sent.get(timeout=10)
        return version, iter(weights)


class AlwaysFloat32(GoodEngine):
    def send_weights(self, weights: Any, version: int) -> None:
        super().send_weights([(name, tensor.float()) for name, tensor in weights], version)


class CountsItself(GoodEngine):
    count = 0

    def send_weights(self, weights: Any, version: int) -> None:
        self.count += 1
        super().send_weights(weights, self.count)


class ZeroesAfterwards(GoodEngine):
    def send_weights(self, weights: Any, version: int) -> None:
        kept = list(weights)
        super().send_weights(kept, version)
        for _, tensor in kept:
            tensor.zero_()


GOOD = (GoodEngine, Example())
MUTANTS = {
    "weights_arrive_to_the_bit": (AlwaysFloat32, Example()),
    "versions_arrive_in_order": (CountsItself, Example()),
    "leaves_the_weights": (ZeroesAfterwards, Example()),
}
