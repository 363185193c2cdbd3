"""Built-in metrics."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {
    "accuracy": "twinkle.plugins_builtin.metric._accuracy:Accuracy",
    "loss": "twinkle.plugins_builtin.metric._loss_metric:LossMetric",
    "train": "twinkle.plugins_builtin.metric._train_metric:TrainMetric",
}


@hookimpl
def twinkle_metrics() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
