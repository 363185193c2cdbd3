"""Metrics by class name; ``twinkle.build("metric", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.metric import COMPONENTS

if TYPE_CHECKING:
    from twinkle.core.contracts.metric import Metric as Metric
    from twinkle.plugins_builtin.metric._accuracy import Accuracy as Accuracy
    from twinkle.plugins_builtin.metric._loss_metric import LossMetric as LossMetric
    from twinkle.plugins_builtin.metric._train_metric import TrainMetric as TrainMetric

__getattr__, __dir__, __all__ = lazy_names(__name__, {"Metric": "twinkle.core.contracts.metric:Metric", **class_names(COMPONENTS)})
