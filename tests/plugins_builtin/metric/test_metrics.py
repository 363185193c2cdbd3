"""The metrics by hand."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from twinkle import build
from twinkle.metric import Accuracy, LossMetric, TrainMetric
from twinkle.plugins_builtin.metric._value import MetricValue


def seen(loss: float, num_tokens: float) -> dict[str, torch.Tensor]:
    return {"loss": torch.tensor(loss, dtype=torch.float64), "num_tokens": torch.tensor(num_tokens, dtype=torch.float64)}


def test_the_loss_is_the_sum_over_the_tokens() -> None:
    """(6 + 4) / (3 + 1), not the mean of 2 and 4."""
    metric = LossMetric()
    metric.accumulate({}, seen(6.0, 3))
    metric.accumulate({}, seen(4.0, 1), grad_norm=torch.tensor(0.1234567))
    values = metric.calculate()
    assert float(values["loss"]) == 2.5
    assert str(values["loss"]) == "2.5000" == values["loss"]
    assert values["grad_norm"] == "0.123457"
    metric.reset()
    assert metric.calculate() == {}


def test_the_loss_may_stay_a_sum() -> None:
    metric = build("metric", "loss", loss_reduction="sum")
    metric.accumulate({}, seen(6.0, 3))
    metric.accumulate({}, seen(4.0, 1))
    assert float(metric.calculate()["loss"]) == 10.0


def test_a_loss_without_tokens_is_zero_and_a_step_without_gradient_has_no_norm() -> None:
    metric = LossMetric()
    metric.accumulate({}, seen(0.0, 0), grad_norm=0.0)
    assert metric.calculate() == {"loss": 0.0}


@pytest.mark.parametrize(
    ("labels", "completion_mask", "expected"),
    [
        ([[1, 2, -100], [4, -100, -100]], None, (0.67, 2, 3)),
        ([[1, 2, -100], [4, -100, -100]], [[0, 1, 1], [1, 0, 0]], (0.5, 1, 2)),
        ([[-100, -100, -100], [-100, -100, -100]], None, (0.0, 0, 0)),
    ],
)
def test_accuracy_by_hand(labels: list[list[int]], completion_mask: Any, expected: tuple[float, int, int]) -> None:
    """Predictions 1 and 4 are right, 9 is wrong. Mutants: masked labels counted, completion_mask ignored."""
    inputs = {"labels": torch.tensor(labels)}
    if completion_mask is not None:
        inputs["completion_mask"] = torch.tensor(completion_mask)
    metric = Accuracy()
    metric.accumulate(inputs, {"predictions": torch.tensor([[1, 9, -1], [4, -1, -1]])})
    values = metric.calculate()
    assert float(str(values["accuracy"])) == expected[0]
    assert (values["correct_tokens"], values["total_tokens"]) == expected[1:]
    assert type(values["total_tokens"]) is int


def test_accuracy_adds_up_and_begins_anew() -> None:
    metric = Accuracy()
    assert metric.calculate() == {}
    for prediction in (1, 1, 2):
        metric.accumulate({"labels": torch.tensor([[1]])}, {"predictions": torch.tensor([[prediction]])})
    assert metric.calculate() == {"accuracy": "0.67", "correct_tokens": 2, "total_tokens": 3}
    metric.reset()
    assert metric.calculate() == {}


def test_train_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    metric = TrainMetric()
    for step in range(1, 5):
        metric.accumulate({}, {}, lr=[1e-4, 1e-4], step=step)
    clock[0] += 2.0
    assert metric.calculate() == {"learning rate": "1.000000e-04", "iters": 4, "total time elapse": "2 seconds", "speed": "2.00 iters/s"}
    metric.reset()
    metric.accumulate({}, {}, lr=[1e-4, 3e-4], step=5)
    clock[0] += 118.0
    values = metric.calculate()
    assert values["learning rate(param group 0)"] == 1e-4
    assert values["learning rate(param group 1)"] == "3.000000e-04"
    assert values["total time elapse"] == "2.0 minutes"
    assert values["speed"] == 1 / 118  # one step since the reset


def test_a_metric_value_is_a_number_and_its_text() -> None:
    value = MetricValue(0.123456, "0.1235")
    assert float(value) == 0.123456 == value
    assert f"{value}" == str(value) == repr(value) == "0.1235" == value
    assert value != "0.1234"
    assert value != 0.1235
    assert value + 1 == 1.123456
    copy = pickle.loads(pickle.dumps(value))
    assert (copy, str(copy)) == (value, "0.1235")
    assert {value: 1}[0.123456] == 1
