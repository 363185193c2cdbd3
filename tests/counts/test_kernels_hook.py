"""Patches, kernels and plugins add no operation to a training step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_training import make_tiny, make_trainee, sample
from torch.utils._python_dispatch import TorchDispatchMode

import twinkle
from benchmarks.kernels_hook import ListeningPlugin, OwnForwardPatch
from twinkle.core.runtime.context import ProcessContext


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def step(model: Any) -> None:
    model.forward_backward(inputs=[sample(9, 0), sample(5, 1)])
    model.clip_grad_and_step()
    model.calculate_metric(is_training=True)


def operations_of_a_step(model: Any) -> list[str]:
    """Of the second step after a change: the first looks at what the layers save."""
    step(model)
    with Operations() as seen:
        step(model)
    return seen.names


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_50_patches_and_plugins_add_no_operation(kind: str, tmp_path: Any, context: ProcessContext) -> None:
    model = make_trainee(make_tiny(tmp_path, num_hidden_layers=4), kind)
    without = operations_of_a_step(model)
    patchable = ("Qwen3RMSNorm", "Qwen3MLP", "Linear")
    layers = [layer for name, layer in model.model.named_modules() if ".layers." in name and type(layer).__name__ in patchable]
    plugins = [ListeningPlugin(index) for index in range(50)]
    handles = [model.apply_patch(OwnForwardPatch(layers[index % len(layers)])) for index in range(50)]
    for plugin in plugins:
        context.registry.register(plugin, f"listening-{plugin.index}")
    assert operations_of_a_step(model) == without
    assert [plugin.num_heard for plugin in plugins] == [2] * 50
    for handle in reversed(handles):
        handle.revert()
    assert operations_of_a_step(model) == without


def test_kernelize_adds_no_operation_of_its_own(tmp_path: Any) -> None:
    """With the layers' own formula, given as a function and as a layer class."""
    model = make_trainee(make_tiny(tmp_path), "full")
    without = operations_of_a_step(model)
    norm = next(type(layer) for layer in model.model.modules() if type(layer).__name__ == "Qwen3RMSNorm")
    for value in (norm.forward, type("Own", (torch.nn.Module,), {"forward": norm.forward})):
        with twinkle.kernelize(model, {"Qwen3RMSNorm": value}) as handle:
            assert handle.replaced == {"Qwen3RMSNorm": 9}
            assert operations_of_a_step(model) == without


def test_the_built_in_kernels_take_fewer_operations(tmp_path: Any) -> None:
    model = make_trainee(make_tiny(tmp_path), "full")
    without = len(operations_of_a_step(model))
    with twinkle.kernelize(model):
        assert len(operations_of_a_step(model)) < without
