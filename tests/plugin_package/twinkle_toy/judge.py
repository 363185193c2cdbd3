"""Judges: a kind of component that Twinkle has never heard of."""

from abc import abstractmethod
from typing import Protocol


class Judge(Protocol):
    """Says which of two answers is better."""

    @abstractmethod
    def compare(self, first: str, second: str) -> int:
        """1 where ``first`` is better, -1 where ``second`` is, 0 where neither."""


class ShorterJudge(Judge):
    """The shorter answer is the better one, by more than ``margin`` characters."""

    def __init__(self, margin: int = 0):
        self.margin = margin

    def compare(self, first: str, second: str) -> int:
        difference = len(second) - len(first)
        return 0 if abs(difference) <= self.margin else 1 if difference > 0 else -1
