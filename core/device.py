"""Devices as values: what torch, torch.distributed and users call them. torch is imported only to see whether a device is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinkle.core.errors import InvalidConfig
from twinkle.core.settings import Settings, process_rank
from twinkle.core.suggestion import did_you_mean

if TYPE_CHECKING:
    import torch


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count()


def _npu_devices() -> int:
    if importlib.util.find_spec("torch_npu") is None:
        return 0
    import torch
    import torch_npu  # type: ignore[import-not-found]  # adds torch.npu

    return int(torch_npu.npu.device_count()) if torch.get_device_module("npu").is_available() else 0


def _mps_devices() -> int:
    import torch

    return int(torch.backends.mps.is_available())


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A type of device, of which a process may use one or more."""

    name: str
    """What users write: "CPU", "GPU", "NPU", "MPS"."""
    type: str
    """What torch writes: "cpu", "cuda", "npu", "mps"."""
    backend: str
    """The torch.distributed backend for its tensors."""
    visible_variable: str | None = None
    """The environment variable that hides devices from a process."""
    count_devices: Callable[[], int] | None = None
    """How many of them this process sees; None where there is always one."""

    def num_devices(self) -> int:
        """How many of them this process sees. Without torch there is the CPU alone."""
        if self.count_devices is None:
            return 1
        return self.count_devices() if importlib.util.find_spec("torch") is not None else 0

    def is_available(self) -> bool:
        """Whether this process sees one."""
        return self.num_devices() > 0

    def torch_device(self, index: int = 0) -> torch.device:
        """Device ``index`` of this process, for ``tensor.to``; a process has one CPU and one MPS whatever the index."""
        import torch

        return torch.device(self.type, index) if self.visible_variable is not None else torch.device(self.type)

    def device_prefix(self) -> str:
        """``type``, under its older name."""
        return self.type


CPU = Device(name="CPU", type="cpu", backend="gloo")
GPU = Device(name="GPU", type="cuda", backend="nccl", visible_variable="CUDA_VISIBLE_DEVICES", count_devices=_cuda_devices)
NPU = Device(name="NPU", type="npu", backend="hccl", visible_variable="ASCEND_RT_VISIBLE_DEVICES", count_devices=_npu_devices)
MPS = Device(name="MPS", type="mps", backend="gloo", count_devices=_mps_devices)

DEVICES = (GPU, NPU, MPS, CPU)
"""Best first: the order of choice where none is named."""


def device_named(name: str) -> Device:
    """The device that users ("GPU") or torch ("cuda") call ``name``, in any case.

    Raises:
        InvalidConfig: there is no such device.
    """
    by_name = {spelling: device for device in DEVICES for spelling in (device.name.lower(), device.type)}
    device = by_name.get(name.lower())
    if device is None:
        raise InvalidConfig(f"no device is named {name!r}.{did_you_mean(name, by_name)}")
    return device


def choose_device(settings: Settings) -> Device:
    """The device that ``TWINKLE_DEVICE`` names, else the best that is there.

    Raises:
        InvalidConfig: the named one does not exist, or is not available in this process.
    """
    if settings.device is None:
        return next(device for device in DEVICES if device.is_available())
    device = device_named(settings.device)
    if not device.is_available():
        here = ", ".join(d.type for d in DEVICES if d.is_available())
        raise InvalidConfig(f"TWINKLE_DEVICE={settings.device}: here is no {device.name}, only {here}; choose one of these or unset it")
    return device


class Platform:
    """Devices under the names of older scripts."""

    @staticmethod
    def get_platform(platform: str | None = None) -> Device:
        """The named device, else the best that is there."""
        return choose_device(Settings.load()) if platform is None else device_named(platform)

    @staticmethod
    def get_rank() -> int:
        """The global rank of this process, -1 without a launcher."""
        return process_rank()
