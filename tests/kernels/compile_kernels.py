"""Compiles Triton kernels for devices that need not be there: jobs as JSON on stdin, what came of each as JSON on stdout.

A job: ``module``, ``kernel``, ``capability`` (90), ``signature`` (argument to Triton type), ``constants`` (argument to value; wins over the
signature, None for a pointer that is not given), ``num_warps``. Integers and pointers are taken to be divisible by 16, as they mostly are.
A process of its own, because tests run with ``TRITON_INTERPRET``, which is read when a kernel is decorated.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def compile_job(job: dict[str, Any]) -> dict[str, int]:
    """Bytes of registers that spilled to memory, and bits of the widest load from global memory."""
    kernel = getattr(importlib.import_module(job["module"]), job["kernel"])
    constants = job["constants"]
    signature = {name: "constexpr" if name in constants else job["signature"][name] for name in kernel.arg_names}
    divisible = {(place,): [["tt.divisibility", 16]] for place, kind in enumerate(signature.values()) if kind[0] in "*i"}
    source = ASTSource(kernel, signature, constants, divisible)
    built = triton.compile(source, target=GPUTarget("cuda", job["capability"], 32), options={"num_warps": job["num_warps"]})
    loads = re.findall(r"ld\.global\S*?(?:\.v(\d))?\.b(\d+)", built.asm["ptx"])
    return {"spilled_bytes": spilled_bytes(built.asm["cubin"]), "widest_load_bits": max(int(n or 1) * int(bits) for n, bits in loads)}


def spilled_bytes(cubin: bytes) -> int:
    """Stack and local memory of a kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        cuobjdump = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        usage = subprocess.run([cuobjdump, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True).stdout
    return sum(int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", usage))


if __name__ == "__main__":
    json.dump([compile_job(job) for job in json.load(sys.stdin)], sys.stdout)
