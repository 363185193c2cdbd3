"""Programs of users run byte for byte as they stand, on a mirror folder with a tiny model and our own rows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import make_model

HERE = Path(__file__).parent
SCRIPTS = HERE / "user_scripts"
ROWS = HERE.parent / "cli" / "data" / "self_cognition.jsonl"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mirror")
    make_model(root / "ms" / "Qwen" / "Qwen3-4B")
    rows = root / "ms" / "swift" / "self-cognition"
    rows.mkdir(parents=True)
    (rows / "train.jsonl").write_bytes(ROWS.read_bytes())
    return root


def run_script(name: str, mirror: Path, folder: Path) -> str:
    """What the script prints; warnings about its own schedule are its own."""
    environ = {
        **os.environ,
        "TWINKLE_HUB_MIRROR": str(mirror),
        "TWINKLE_HOME": str(folder / "home"),
        "HF_HOME": str(folder / "huggingface"),
        "TWINKLE_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, str(SCRIPTS / name)], cwd=folder, env=environ, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_sft_single_gpu_trains_and_saves(mirror: Path, tmp_path: Path) -> None:
    printed = run_script("sft_single_gpu.py", mirror, tmp_path)
    losses = [float(loss) for loss in re.findall(r"'loss': ([\d.]+)", printed)]
    assert len(losses) == 7  # steps 0, 20 ... 120 of 125
    assert losses[-1] < losses[0] - 0.1
    assert "Total steps: 125" in printed
    assert "pass num_training_steps=62" in printed, "its schedule counts batches: it is told once"
    checkpoint = tmp_path / "output" / "last-checkpoint"
    assert json.loads((checkpoint / "adapter_config.json").read_text())["r"] == 8
    assert (checkpoint / "adapter_model.safetensors").is_file() and (checkpoint / "tokenizer_config.json").is_file()


@pytest.mark.slow
def test_packing_dataset_prints_packed_rows(mirror: Path, tmp_path: Path) -> None:
    printed = run_script("packing_dataset.py", mirror, tmp_path)
    assert all(f"'{column}'" in printed for column in ("input_ids", "labels", "position_ids", "length"))
