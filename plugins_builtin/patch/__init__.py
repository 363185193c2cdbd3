"""Built-in patches."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {
    "no_split_modules": "twinkle.plugins_builtin.patch._no_split_modules:NoSplitModulesPatch",
    "qwen3_moe_fsdp2": "twinkle.plugins_builtin.patch._qwen3_moe_fsdp2:Qwen3MoeFsdp2Patch",
}


@hookimpl
def twinkle_patches() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
