"""The check of a kernel's ``layer_forward``: what it sees besides a wrong number."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from twinkle.testing import CheckFailed, KernelExample, NotApplicable, Specimen, checks_of

from .mutant.kernel import EXAMPLE, GoodKernel, gated_scale, tensors


def check(kernel: type, example: KernelExample) -> None:
    [found] = [check for check in checks_of("kernel") if check.id == "kernel:layers_stay_what_they_are"]
    found(Specimen(kind="kernel", name="mine", component=kernel, example=example))


class KeepsTheLayer(GoodKernel):
    def layer_forward(self, layer: Any) -> Any:
        return lambda _, a, b: gated_scale(layer, a, b)


class KeepsTheWeight(GoodKernel):
    def layer_forward(self, layer: Any) -> Any:
        kept = copy.deepcopy(layer)
        return lambda _, a, b: gated_scale(kept, a, b)


class NoGradientOfTheWeight(GoodKernel):
    def layer_forward(self, layer: Any) -> Any:
        return lambda layer, a, b: gated_scale(layer, a, b.detach())


class TwoLayers(GoodKernel):
    layers = frozenset({"GatedScale", "OtherScale"})


class NoLayer:
    def __call__(self, a: Any) -> Any:
        return a

    reference = __call__


NO_LAYERS = dataclasses.replace(EXAMPLE, layers=())


@pytest.mark.parametrize(
    ("kernel", "example", "message"),
    [
        (KeepsTheLayer, EXAMPLE, "GatedScale: the largest error is"),
        (KeepsTheWeight, EXAMPLE, "GatedScale: the largest error is"),
        (NoGradientOfTheWeight, EXAMPLE, "GatedScale, gradients"),
        (TwoLayers, EXAMPLE, "takes over OtherScale, with which it was not tried"),
        (GoodKernel, NO_LAYERS, r"takes over GatedScale, .*examples={'kernel:mine': KernelExample\(layers=\[...\]\)}"),
    ],
)
def test_a_layer_that_is_not_what_it_was_is_seen(kernel: type, example: KernelExample, message: str) -> None:
    with pytest.raises(CheckFailed, match=message):
        check(kernel, example)


def test_a_kernel_of_functions_has_no_layers_to_try() -> None:
    with pytest.raises(NotApplicable, match="it has no layer_forward"):
        check(NoLayer, KernelExample(tensors=[tensors(2, 3)]))
