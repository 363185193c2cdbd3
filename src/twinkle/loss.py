"""Losses by class name; ``twinkle.build("loss", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.loss import COMPONENTS

if TYPE_CHECKING:
    from twinkle.core.contracts.loss import Loss as Loss
    from twinkle.plugins_builtin.loss._chunked_cross_entropy import ChunkedCrossEntropyLoss as ChunkedCrossEntropyLoss
    from twinkle.plugins_builtin.loss._cross_entropy import CrossEntropyLoss as CrossEntropyLoss
    from twinkle.plugins_builtin.loss._mse import MSELoss as MSELoss

__getattr__, __dir__, __all__ = lazy_names(__name__, {"Loss": "twinkle.core.contracts.loss:Loss", **class_names(COMPONENTS)})
