"""A kernel, and wrong ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from twinkle.testing import KernelExample


class GoodKernel:
    """silu(a) * b."""

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


def tensors(*shape: int) -> Any:
    return lambda: [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]


EXAMPLE = KernelExample(tensors=[tensors(3, 5), tensors(1, 7)])
GOOD = (GoodKernel, EXAMPLE)
MUTANTS = {
    "equals_its_reference": (HalfTheGradient, EXAMPLE),
    "equals_its_reference_on_the_accelerator": (WrongOnTheAccelerator, EXAMPLE),
    "bfloat16_stays_close": (RoughInBfloat16, EXAMPLE),
    "takes_any_strides": (ReadsStorage, EXAMPLE),
    "gives_the_same_again": (Drifts, EXAMPLE),
}
