"""Which metrics are numbers."""

from __future__ import annotations

from collections.abc import Mapping


def numbers(metrics: Mapping[str, object]) -> dict[str, float]:
    """The numeric ones of ``metrics`` as plain floats; names keep no blanks, which dashboards take for paths of their own."""
    return {name.replace(" ", "_"): float(value) for name, value in metrics.items() if isinstance(value, int | float)}
