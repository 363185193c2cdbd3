"""Built-in kernels: the functions of ``twinkle.kernels`` as components, and the layers that they fit."""

from __future__ import annotations

from twinkle.core.hookspecs import hookimpl

COMPONENTS: dict[str, str] = {
    "linear_logprob": "twinkle.plugins_builtin.kernel._linear_logprob:LinearLogprobKernel",
    "moe_experts": "twinkle.plugins_builtin.kernel._moe_experts:MoeExpertsKernel",
    "qk_norm_rope": "twinkle.plugins_builtin.kernel._qk_norm_rope:QKNormRopeKernel",
    "rms_norm": "twinkle.plugins_builtin.kernel._rms_norm:RMSNormKernel",
    "rope": "twinkle.plugins_builtin.kernel._rope:RopeKernel",
    "swiglu": "twinkle.plugins_builtin.kernel._swiglu:SwiGLUKernel",
}


@hookimpl
def twinkle_kernels() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS
