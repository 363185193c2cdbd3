"""The hooks of Twinkle: everything that a plugin can tell the core, and that the core tells plugins.

A plugin is a small module (or object) whose functions bear :data:`hookimpl`; an installed package announces it with one entry point in
the group ``twinkle``. Collecting hooks return a mapping of names to import strings ``"module:Class"`` (or classes); nothing behind an
import string is imported before it is resolved. A hook implementation may leave out any argument that it does not need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from twinkle.core.kinds import KindSpec
from twinkle.core.refs import FileRef, HubRef

if TYPE_CHECKING:
    from pathlib import Path

    from twinkle.core.contracts.component_source import ComponentSource
    from twinkle.core.contracts.hub import Hub
    from twinkle.core.resolved import Resolved

PROJECT = "twinkle"
API_VERSION = 1
"""Passed to collecting hooks, so that a plugin can tell the generations of this file apart."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Components = Mapping[str, type[Any] | str]
"""Name -> class, or ``"module:Class"`` that is imported on first use. The class name is an alias of the name by itself."""


# ---- names of components, one hook a kind: called once, at the first look-up of that kind; the results of all plugins are merged,
# ---- and a name that two installed packages give is an error that lists both.


@hookspec
def twinkle_losses(api_version: int) -> Components:  # type: ignore[empty-body]
    """Losses by name."""


@hookspec
def twinkle_metrics(api_version: int) -> Components:  # type: ignore[empty-body]
    """Metrics by name."""


@hookspec
def twinkle_patches(api_version: int) -> Components:  # type: ignore[empty-body]
    """Patches by name."""


@hookspec
def twinkle_preprocessors(api_version: int) -> Components:  # type: ignore[empty-body]
    """Preprocessors by name."""


@hookspec
def twinkle_filters(api_version: int) -> Components:  # type: ignore[empty-body]
    """Row filters by name."""


@hookspec
def twinkle_processors(api_version: int) -> Components:  # type: ignore[empty-body]
    """Batch processors by name."""


@hookspec
def twinkle_rewards(api_version: int) -> Components:  # type: ignore[empty-body]
    """Rewards by name."""


@hookspec
def twinkle_advantages(api_version: int) -> Components:  # type: ignore[empty-body]
    """Advantages by name."""


@hookspec
def twinkle_kernels(api_version: int) -> Components:  # type: ignore[empty-body]
    """Kernels by name."""


@hookspec
def twinkle_samplers(api_version: int) -> Components:  # type: ignore[empty-body]
    """Samplers by name."""


@hookspec
def twinkle_templates(api_version: int) -> Components:  # type: ignore[empty-body]
    """Templates by name."""


@hookspec
def twinkle_models(api_version: int) -> Components:  # type: ignore[empty-body]
    """Models by name."""


@hookspec
def twinkle_datasets(api_version: int) -> Components:  # type: ignore[empty-body]
    """Data sets by name."""


@hookspec
def twinkle_dataloaders(api_version: int) -> Components:  # type: ignore[empty-body]
    """Data loaders by name."""


@hookspec
def twinkle_checkpoint_engines(api_version: int) -> Components:  # type: ignore[empty-body]
    """Checkpoint engines by name."""


@hookspec
def twinkle_optimizers(api_version: int) -> Components:  # type: ignore[empty-body]
    """Optimizers by name."""


@hookspec
def twinkle_lr_schedulers(api_version: int) -> Components:  # type: ignore[empty-body]
    """Learning-rate schedulers by name."""


@hookspec
def twinkle_executors(api_version: int) -> Components:  # type: ignore[empty-body]
    """Executors by the mode that ``initialize(mode=...)`` names."""


@hookspec
def twinkle_hubs(api_version: int) -> Components:  # type: ignore[empty-body]
    """Hub backends by name, for listings and for use by name; which of them serves a scheme is said by :func:`twinkle_hub`."""


@hookspec
def twinkle_environments(api_version: int) -> Components:  # type: ignore[empty-body]
    """Environments by name."""


# ---- new kinds, new schemes, new roads


@hookspec
def twinkle_kinds(api_version: int) -> Sequence[KindSpec]:  # type: ignore[empty-body]
    """Whole new kinds of component. Called before any name is collected; the hook that a kind names exists from then on."""


@hookspec(firstresult=True)
def twinkle_hub(scheme: str) -> Hub | None:
    """The hub that serves ``scheme`` ("ms", "hf", a scheme of your own), ready for use; None passes it on. The first answer wins."""


@hookspec(firstresult=True)
def twinkle_component_source(ref: HubRef | FileRef) -> ComponentSource | None:
    """What resolves and loads the components of a repository or folder; None passes it on. The first answer wins."""


# ---- told, in order of registration; results are ignored


@hookspec
def twinkle_component_loaded(resolved: Resolved, cls: object) -> None:
    """A component was loaded for the first time in this process: for audit and telemetry. It cannot be replaced here."""


@hookspec
def twinkle_run_started(run: str, config: Mapping[str, object]) -> None:
    """A training run begins. ``run`` is its output folder, ``config`` what it was asked to do, in plain values."""


@hookspec
def twinkle_step_ended(run: str, step: int, metrics: Mapping[str, object]) -> None:
    """Metrics were calculated after optimizer step ``step``; values are numbers, or print as text, names of an evaluation begin with
    ``eval/``. ``run`` is the output folder of the run that goes on, "" where none was started."""


@hookspec
def twinkle_checkpoint_saved(path: Path, step: int) -> None:
    """A checkpoint is complete under ``path``, after optimizer step ``step``."""


@hookspec
def twinkle_run_ended(run: str, status: str) -> None:
    """The run is over: ``status`` is "finished", "interrupted" or "failed"."""
