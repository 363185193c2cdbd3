"""Compiles the launches of the layer kernels for a GPU that need not be there: its capability (90) as argument, kernels and spills as JSON.

The functions around the kernels run as they are, on tensors of the host; only the launch compiles instead. A process of its own, because
tests run with ``TRITON_INTERPRET``, which is read when a kernel is decorated.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
import triton
from compile_kernels import spilled_bytes
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from twinkle.kernels import _qk_norm_rope_triton, _rms_norm_triton, _rope_triton, _swiglu_triton

POINTERS = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}


class Arguments:
    """Triton's types of a launch's arguments, specialised as a launch does: on None, on 1, on divisibility by 16."""

    def __init__(self, kernel: Any, values: Mapping[str, Any]) -> None:
        self.constants: dict[tuple[int, ...], Any] = {}
        self.divisible: dict[tuple[int, ...], list[list[object]]] = {}
        self.signature: dict[str, Any] = {}
        for place, parameter in enumerate(kernel.params):
            value = values[parameter.name]
            self.signature[parameter.name] = self._constant((place,), value) if parameter.is_constexpr else self._type((place,), value)

    def _constant(self, place: tuple[int, ...], value: Any) -> str:
        self.constants[place] = value
        return "constexpr"

    def _type(self, place: tuple[int, ...], value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._type((*place, part), inner) for part, inner in enumerate(value))
        if value is None or (isinstance(value, int) and value == 1):
            return self._constant(place, value)
        if isinstance(value, float):
            return "fp32"
        if isinstance(value, Tensor) or value % 16 == 0:
            self.divisible[place] = [["tt.divisibility", 16]]
        return POINTERS[value.dtype] if isinstance(value, Tensor) else "i32"


def run_layers() -> None:
    """Every layer kernel, forward and backward, with what is there only sometimes and without."""
    x, weight = torch.empty(4, 2048, dtype=torch.bfloat16), torch.empty(2048, dtype=torch.bfloat16)
    r = torch.empty(4, 1)
    _rms_norm_triton.rms_norm_forward(x, weight, 1e-6, 0.0)
    _rms_norm_triton.add_rms_norm_forward(x, x, weight, 1e-6, 1.0)
    _rms_norm_triton.rms_norm_backward(x, x, weight, r, 0.0, None, True)
    _rms_norm_triton.rms_norm_backward(x, x, weight, r, 1.0, x, False)
    _swiglu_triton.swiglu_forward(x, x)
    for gate, up in ((x, x), tuple(x.chunk(2, dim=-1))):
        _swiglu_triton.swiglu_backward(gate, gate, up, overwrite=False)
    q, k = (torch.empty(2, 7, heads, 128, dtype=torch.bfloat16).transpose(1, 2) for heads in (8, 2))
    for rotated in (128, 64):
        angles = torch.empty(2, 2, 7, rotated, dtype=torch.bfloat16).unbind()
        for transposed in (False, True):
            _rope_triton.rope(q, k, *angles, transposed=transposed)
        weights = torch.empty(2, 128, dtype=torch.bfloat16).unbind()
        for offset in (0.0, 1.0):
            *_, q_r, k_r = _qk_norm_rope_triton.qk_norm_rope_forward(q, k, *weights, *angles, 1e-6, offset)
        for needs_weight in (False, True):
            _qk_norm_rope_triton.qk_norm_rope_backward(q, k, q, k, *weights, *angles, q_r, k_r, 0.0, needs_weight)


def main(capability: int) -> None:
    spills: list[tuple[str, int]] = []

    def compile_launch(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        sizes = {name: options.pop(name) for name in ("num_warps", "num_stages")}
        types = Arguments(kernel, {**dict(zip(kernel.arg_names, arguments, strict=False)), **options})
        source = ASTSource(kernel, types.signature, types.constants, types.divisible)
        built = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=sizes)
        spills.append((f"{kernel.__module__}.{kernel.__name__}", spilled_bytes(built.asm["cubin"])))

    JITFunction.run = compile_launch
    run_layers()
    json.dump(spills, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
