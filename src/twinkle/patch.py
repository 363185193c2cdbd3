"""Patches by class name; ``twinkle.build("patch", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.patch import COMPONENTS

if TYPE_CHECKING:
    from twinkle.core.contracts.patch import Patch as Patch
    from twinkle.core.patching import apply_patch as apply_patch
    from twinkle.plugins_builtin.patch._no_split_modules import NoSplitModulesPatch as NoSplitModulesPatch
    from twinkle.plugins_builtin.patch._qwen3_moe_fsdp2 import Qwen3MoeFsdp2Patch as Qwen3MoeFsdp2Patch

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Patch": "twinkle.core.contracts.patch:Patch",
        "apply_patch": "twinkle.core.patching:apply_patch",
        **class_names(COMPONENTS),
    },
)
