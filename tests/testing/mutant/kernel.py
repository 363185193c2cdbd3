"""A kernel, and wrong ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from twinkle.testing import KernelExample


class GatedScale(torch.nn.Module):
    """weight * silu(a) * b."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(5))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.weight * F.silu(a) * b


def gated_scale(layer: Any, a: Any, b: Any) -> Any:
    return a * torch.sigmoid(a) * b * layer.weight


class GoodKernel:
    """silu(a) * b."""

    layers = frozenset({"GatedScale"})

    def layer_forward(self, layer: Any) -> Any:
        return gated_scale

    def __call__(self, a: Any, b: Any) -> Any:
        return F.silu(a) * b

    def reference(self, a: Any, b: Any) -> Any:
        return a / (1 + torch.exp(-a)) * b


class HalfTheGradient(GoodKernel):
    def __call__(self, a: Any, b: Any) -> Any:
        return super().__call__(a.detach(), b) + 0 * a


class WrongOnTheAccelerator(GoodKernel):
    def __call__(self, a: Any, b: Any) -> Any:
        return super().__call__(a, b) * (1.1 if a.is_cuda else 1.0)


class RoughInBfloat16(GoodKernel):
    def __call__(self, a: Any, b: Any) -> Any:
        return super().__call__(a, b) * (1.1 if a.dtype == torch.bfloat16 else 1.0)


class ReadsStorage(GoodKernel):
    def __call__(self, a: Any, b: Any) -> Any:
        return super().__call__(a.as_strided(a.shape, (a.shape[1], 1)), b)


class Drifts(GoodKernel):
    calls = 0

    def __call__(self, a: Any, b: Any) -> Any:
        self.calls += 1
        return super().__call__(a, b) * (1 + 5e-7 * self.calls)


class ThreeTimesTheLayer(GoodKernel):
    def layer_forward(self, layer: Any) -> Any:
        return lambda layer, a, b: 3 * gated_scale(layer, a, b)


def tensors(*shape: int) -> Any:
    return lambda: [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]


EXAMPLE = KernelExample(tensors=[tensors(3, 5), tensors(1, 7)], layers=[lambda: (GatedScale(), tensors(3, 5)())])
GOOD = (GoodKernel, EXAMPLE)
MUTANTS = {
    "equals_its_reference": (HalfTheGradient, EXAMPLE),
    "equals_its_reference_on_the_accelerator": (WrongOnTheAccelerator, EXAMPLE),
    "bfloat16_stays_close": (RoughInBfloat16, EXAMPLE),
    "takes_any_strides": (ReadsStorage, EXAMPLE),
    "gives_the_same_again": (Drifts, EXAMPLE),
    "layers_stay_what_they_are": (ThreeTimesTheLayer, EXAMPLE),
}
