"""Rates of calls whose time is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from benchmarks import calibration
from benchmarks.rates import Rates


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes when a test says so."""
    now = [0.0]
    monkeypatch.setattr(calibration, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def takes(clock: list[float], *seconds: float) -> Callable[[], None]:
    """A call that takes these times, one after the other."""
    times = iter(seconds)

    def call() -> None:
        clock[0] += next(times)

    return call


def test_the_shortest_of_the_calls_counts_and_the_first_is_to_warm_up(clock: list[float]) -> None:
    assert calibration._best_s([takes(clock, 0.001, 0.03, 0.01, 0.02)] * 3) == pytest.approx(0.01)


def test_a_slow_rate_is_measured_by_fewer_calls(clock: list[float]) -> None:
    calibration._best_s([takes(clock, *[0.25] * 41)] * 40, max_s=0.6)
    assert clock == [4 * 0.25]  # to warm up, and until the time is spent


def test_a_rate_is_the_best_of_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = [
        Rates(gemm_flops_per_s={"float32": {"small": small, "large": 5.0}}, copy_bytes_per_s=copy, tiny_op_us=tiny)
        for small, copy, tiny in ((1.0, 3.0, 0.5), (2.0, 1.0, 0.2), (1.5, 2.0, 0.3))
    ]
    monkeypatch.setattr(calibration, "_measure", iter(rounds).__next__)
    best = Rates(gemm_flops_per_s={"float32": {"small": 2.0, "large": 5.0}}, copy_bytes_per_s=3.0, tiny_op_us=0.2)
    assert calibration.calibrate() == best


def test_rates_are_operations_and_bytes_over_the_shortest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for each call: a product of r x k and k x c has 2 r k c operations, a copied byte is read and written."""
    called: list[Callable[[], object]] = []

    def half_a_second(calls: list[Callable[[], object]]) -> float:
        called.append(calls[0])
        return 0.5

    monkeypatch.setattr(calibration, "_best_s", half_a_second)
    monkeypatch.setattr(calibration, "COPY_BYTES", 1 << 20)
    assert calibration._gemm_flops_per_s(torch.float32, 2, 3, 5) == 4 * 2 * 3 * 5
    assert calibration._copy_bytes_per_s() == 4 * (1 << 20) / calibration.NUM_PIECES
    for call in called:
        call()
