"""Kernels run where their tensors are, not on the GPU that happens to be the current one."""

from __future__ import annotations

import ast
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from twinkle.kernels._device import on_device_of

KERNELS = Path(__file__).parents[2] / "kernels"


def test_the_gpu_of_a_tensor_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(entered.append(device)))
    for is_cuda in (True, False):
        tensor: Any = SimpleNamespace(is_cuda=is_cuda, device="cuda:3")
        with on_device_of(tensor):
            pass
    assert entered == ["cuda:3"]


@pytest.mark.parametrize("path", sorted(KERNELS.glob("_*_triton.py")), ids=lambda path: path.stem)
def test_every_launch_is_on_the_device_of_its_tensors(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    launches = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)}
    guarded: set[int] = set()
    for block in (node for node in ast.walk(tree) if isinstance(node, ast.With)):
        if any(isinstance(item.context_expr, ast.Call) and ast.unparse(item.context_expr.func) == "on_device_of" for item in block.items):
            guarded |= {node.lineno for node in ast.walk(block) if isinstance(node, ast.Call)}
    assert launches <= guarded
    assert launches or path.stem == "_row_triton"
