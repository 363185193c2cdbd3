"""Built-in data loaders."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {"dataloader": "twinkle.plugins_builtin.dataloader._dataloader:DataLoader"}


@hookimpl
def twinkle_dataloaders() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
