"""The checks, one file a kind."""

from __future__ import annotations

from twinkle.testing.check import EVERY_KIND, Check
from twinkle.testing.checks import (
    advantage,
    checkpoint_engine,
    dataloader,
    dataset,
    environment,
    every_kind,
    executor,
    hub,
    kernel,
    loss,
    lr_scheduler,
    metric,
    model,
    optimizer,
    patch,
    preprocessor,
    processor,
    reward,
    row_filter,
    sampler,
    template,
)

_FILES = (
    every_kind,
    advantage,
    checkpoint_engine,
    dataloader,
    dataset,
    environment,
    executor,
    hub,
    kernel,
    loss,
    lr_scheduler,
    metric,
    model,
    optimizer,
    patch,
    preprocessor,
    processor,
    reward,
    row_filter,
    sampler,
    template,
)


def all_checks() -> tuple[Check, ...]:
    """Every check there is."""
    return tuple(check for file in _FILES for check in file.CHECKS)


def checks_of(kind: str) -> tuple[Check, ...]:
    """The checks of a component of ``kind``: those of every kind, and its own."""
    return tuple(check for check in all_checks() if check.kind in (EVERY_KIND, kind))
