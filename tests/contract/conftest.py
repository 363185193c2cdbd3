"""Tests that start another Python take seconds, however few of them there are."""

from __future__ import annotations

import pytest

from twinkle.testing import Check


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        check = item.callspec.params.get("check") if isinstance(item, pytest.Function) and "check" in item.fixturenames else None
        if isinstance(check, Check) and check.id.startswith("all:import_"):
            item.add_marker(pytest.mark.slow)
