"""Each test of a layer's kernel runs twice: with torch's operations, and with Triton's, in its interpreter or on a GPU."""

from __future__ import annotations

import pytest
import torch

from twinkle.kernels.tuning import Launch

LAYER_KERNELS = ("rms_norm", "swiglu", "rope", "qk_norm_rope")


@pytest.fixture
def device() -> torch.device:
    """A GPU where there is one; without it Triton interprets its kernels on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def triton_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public functions take their Triton path whatever the device, with tiles so small that odd shapes need several."""
    small = Launch(blocks={"BLOCK_N": 2})
    for kernel in LAYER_KERNELS:
        launch = Launch(blocks={"BLOCK_I": 8}) if kernel == "swiglu" else small
        monkeypatch.setattr(f"twinkle.kernels.{kernel}.fits_triton", lambda *_, **__: True)
        monkeypatch.setattr(f"twinkle.kernels._{kernel}_triton.launch_for", lambda *_, launch=launch: launch)


@pytest.fixture(params=["torch", "triton"])
def layer_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path that the public functions take."""
    if request.param == "triton":
        request.getfixturevalue("triton_layers")
    else:
        for kernel in LAYER_KERNELS:
            monkeypatch.setattr(f"twinkle.kernels.{kernel}.fits_triton", lambda *_, **__: False)
    return str(request.param)
