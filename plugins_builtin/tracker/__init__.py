"""Built-in trackers, and the kind itself: it comes from a plugin, as a stranger's would."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl
from twinkle.core.kinds import KindSpec

COMPONENTS: dict[str, str] = {
    "jsonl": "twinkle.plugins_builtin.tracker._jsonl:JsonlTracker",
    "swanlab": "twinkle.plugins_builtin.tracker._swanlab:SwanLabTracker",
    "tensorboard": "twinkle.plugins_builtin.tracker._tensorboard:TensorBoardTracker",
    "wandb": "twinkle.plugins_builtin.tracker._wandb:WandbTracker",
}


@hookimpl
def twinkle_kinds() -> list[KindSpec]:
    """The kind "tracker"."""
    contract = "twinkle.core.contracts.tracker:Tracker"
    return [KindSpec(name="tracker", hook="twinkle_trackers", contract=contract, summary="keeps or shows the metrics of a run")]


@hookimpl
def twinkle_trackers() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
