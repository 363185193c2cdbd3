"""Built-in losses."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {
    "chunked_cross_entropy": "twinkle.plugins_builtin.loss._chunked_cross_entropy:ChunkedCrossEntropyLoss",
    "cross_entropy": "twinkle.plugins_builtin.loss._cross_entropy:CrossEntropyLoss",
    "mse": "twinkle.plugins_builtin.loss._mse:MSELoss",
}


@hookimpl
def twinkle_losses() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
