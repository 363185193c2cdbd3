"""A number that prints as it is meant to be read."""

from __future__ import annotations


class MetricValue(float):
    """A float that prints, and compares with text, as ``text``: ``MetricValue(0.12345, "0.1235") == "0.1235"``."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, value: float, text: str) -> MetricValue:
        """``value``, shown as ``text``."""
        made = super().__new__(cls, value)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return self.text == other if isinstance(other, str) else float(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(float(self))

    def __reduce__(self) -> tuple[type[MetricValue], tuple[float, str]]:
        return MetricValue, (float(self), self.text)
