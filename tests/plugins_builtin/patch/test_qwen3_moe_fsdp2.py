"""Two gloo ranks, FSDP2, a tiny Qwen3-MoE of transformers 4: wrong or aborted without the patch, equal to one process with it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from twinkle.patch import apply_patch

WORKER = Path(__file__).with_name("moe_fsdp2_worker.py")
OVERLAY = Path(sys.prefix) / "overlay" / "transformers-4.57.6"
needs_transformers_4 = pytest.mark.skipif(
    not OVERLAY.is_dir(), reason="transformers 4.57.6 is not beside the environment: `make test` puts it there"
)

# One float32 step: sums in another order differ by some units of the last place of numbers below 1.
EQUAL = 1e-6
SEEN_WRONG = 1e-5


def two_ranks(case: str, patch: str, overlay: Path | None = OVERLAY) -> dict[str, float] | None:
    """The largest differences to one process; None where a rank aborted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environ = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": str(overlay)} if overlay else {})}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), port, case, patch],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    deadline_s = time.monotonic() + 120
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < deadline_s:
        if any(rank.poll() for rank in ranks):  # the other one waits for it: no need to wait along
            break
        time.sleep(0.05)
    for rank in ranks:
        rank.kill()
    outputs = [rank.communicate() for rank in ranks]
    if any(rank.returncode for rank in ranks):
        assert any("gloo" in error for _, error in outputs), outputs
        return None
    seen: dict[str, float] = json.loads(outputs[0][0])
    return seen


@needs_transformers_4
@pytest.mark.slow
def test_without_the_patch_the_run_aborts_or_is_silently_wrong() -> None:
    assert two_ranks("unequal", "none") is None, "unequal numbers of experts must not reduce together"
    wrong = two_ranks("equal", "none")
    assert wrong is None or wrong["weights"] > SEEN_WRONG


@needs_transformers_4
@pytest.mark.slow
@pytest.mark.parametrize("case", ["equal", "unequal"])
def test_with_the_patch_two_ranks_equal_one_process(case: str) -> None:
    seen = two_ranks(case, "qwen3_moe_fsdp2")
    assert seen is not None
    assert seen["loss"] < EQUAL and seen["weights"] < EQUAL, seen


@pytest.mark.slow
def test_transformers_5_needs_no_patch() -> None:
    seen = two_ranks("unequal", "none", overlay=None)
    assert seen is not None
    assert seen["loss"] < EQUAL and seen["weights"] < EQUAL, seen


def test_it_says_why_it_is_not_needed_and_changes_nothing() -> None:
    model = Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=32,
            hidden_size=8,
            moe_intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            num_experts=2,
        )
    )
    handle = apply_patch("qwen3_moe_fsdp2", model)
    assert not handle.is_applied
    assert handle.reason is not None and "transformers 5" in handle.reason
    assert "forward" not in vars(model.model.layers[0].mlp)
