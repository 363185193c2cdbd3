"""Kernels by class name; ``twinkle.build("kernel", name)`` finds those of other packages too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinkle.core.facade import class_names, lazy_names
from twinkle.plugins_builtin.kernel import COMPONENTS

if TYPE_CHECKING:
    from twinkle.core.contracts.kernel import Kernel as Kernel
    from twinkle.core.contracts.kernel import LayerKernel as LayerKernel
    from twinkle.core.kernelizing import KernelHandle as KernelHandle
    from twinkle.core.kernelizing import kernelize as kernelize
    from twinkle.plugins_builtin.kernel._linear_logprob import LinearLogprobKernel as LinearLogprobKernel
    from twinkle.plugins_builtin.kernel._moe_experts import MoeExpertsKernel as MoeExpertsKernel
    from twinkle.plugins_builtin.kernel._qk_norm_rope import QKNormRopeKernel as QKNormRopeKernel
    from twinkle.plugins_builtin.kernel._rms_norm import RMSNormKernel as RMSNormKernel
    from twinkle.plugins_builtin.kernel._rope import RopeKernel as RopeKernel
    from twinkle.plugins_builtin.kernel._swiglu import SwiGLUKernel as SwiGLUKernel

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Kernel": "twinkle.core.contracts.kernel:Kernel",
        "KernelHandle": "twinkle.core.kernelizing:KernelHandle",
        "LayerKernel": "twinkle.core.contracts.kernel:LayerKernel",
        "kernelize": "twinkle.core.kernelizing:kernelize",
        **class_names(COMPONENTS),
    },
)
