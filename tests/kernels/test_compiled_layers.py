"""The layer kernels compile for real devices; the interpreter takes what the compiler refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90], ids=["Ampere", "Hopper"])
def test_layer_kernels_compile_without_spilling(capability: int, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, Path(__file__).with_name("compile_layers.py"), str(capability)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    spills = json.loads(done.stdout)
    assert {name for name, _ in spills} == {
        *(
            f"twinkle.kernels._{layer}_triton.{way}_kernel"
            for layer in ("rms_norm", "swiglu", "qk_norm_rope")
            for way in ("_forward", "_backward")
        ),
        "twinkle.kernels._rope_triton._rope_kernel",
    }
    assert all(spilled == 0 for _, spilled in spills)
