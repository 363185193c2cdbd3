"""The hubs that need a service, against the one on loopback."""

from __future__ import annotations

import pytest

from twinkle.testing import Check, HubExample, Specimen, parametrize_with_checks
from twinkle.testing.loopback_hub import LoopbackHub

FILES = {"config.json": b"{}", "weights/a.safetensors": b"\x00\x01", "notes.txt": "你好".encode()}
ENDPOINT: list[str] = []
SDKS = {"huggingface": "huggingface-hub", "modelscope": "modelscope-hub"}
HUBS = [Specimen(kind="hub", name=name, component=name, dependencies=(sdk,)) for name, sdk in SDKS.items()]


def example(scheme: str) -> HubExample:
    return HubExample(init=lambda: {"endpoint": ENDPOINT[-1], "token": "none"}, repo=f"{scheme}://owner/name", files=FILES)


@pytest.fixture(autouse=True)
def served(fake_hub: LoopbackHub) -> None:
    ENDPOINT.append(fake_hub.endpoint)
    for service in ("ms", "hf"):
        fake_hub.repository(service, "owner/name", FILES)  # type: ignore[arg-type]


@parametrize_with_checks(HUBS, examples={"hub:huggingface": example("hf"), "hub:modelscope": example("ms")})
def test_builtin_hub(component: Specimen, check: Check) -> None:
    check(component)
