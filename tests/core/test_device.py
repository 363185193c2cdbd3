"""Devices: names, the choice of one, and no torch before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from twinkle.core.device import CPU, DEVICES, GPU, MPS, NPU, Device, Platform, choose_device, device_named
from twinkle.core.errors import InvalidConfig
from twinkle.core.settings import Settings


@pytest.mark.parametrize(
    ("device", "torch_type", "backend"), [(CPU, "cpu", "gloo"), (GPU, "cuda", "nccl"), (NPU, "npu", "hccl"), (MPS, "mps", "gloo")]
)
def test_what_each_device_is_called(device: Device, torch_type: str, backend: str) -> None:
    assert (device.type, device.device_prefix(), device.backend) == (torch_type, torch_type, backend)
    for spelling in (device.name, device.name.lower(), device.type, device.type.upper()):
        assert device_named(spelling) is device
        assert Platform.get_platform(spelling) is device


def test_an_unknown_name_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(InvalidConfig, match=r"no device is named 'cudda'\. Did you mean 'cuda'"):
        device_named("cudda")


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    """Makes torch report these devices."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_the_best_device_that_is_there_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    assert choose_device(Settings()) is CPU
    pretend(monkeypatch, mps=True)
    assert choose_device(Settings()) is MPS
    pretend(monkeypatch, cuda=2, mps=True)
    assert choose_device(Settings()) is GPU and GPU.num_devices() == 2


def test_a_named_device_is_taken_or_refused_and_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=1)
    assert choose_device(Settings(device="cpu")) is CPU
    assert choose_device(Settings(device="GPU")) is GPU
    pretend(monkeypatch)
    with pytest.raises(InvalidConfig, match="TWINKLE_DEVICE=cuda: here is no GPU, only cpu"):
        choose_device(Settings(device="cuda"))
    with pytest.raises(InvalidConfig, match="here is no NPU"):
        choose_device(Settings(device="npu"))


def test_without_torch_there_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=1, mps=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [device.name for device in DEVICES if device.is_available()] == ["CPU"]


def test_only_devices_that_a_process_has_several_of_are_numbered() -> None:
    assert [str(device.torch_device(3)) for device in (CPU, GPU, MPS)] == ["cpu", "cuda:3", "mps"]


def test_the_platform_knows_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert Platform.get_rank() == -1
    monkeypatch.setenv("RANK", "3")
    assert Platform.get_rank() == 3


def test_naming_devices_imports_no_torch() -> None:
    program = (
        "import sys, twinkle.core.device as d, twinkle.core.mesh as m, twinkle.core.runtime.remote\n"
        "m.DeviceMesh.from_sizes(dp_size=2, device_type='GPU'); m.DeviceGroup('g', 2, 'NPU'); d.CPU.is_available()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
