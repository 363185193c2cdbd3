"""Repositories of Hugging Face kernels by their id: refused unseen, approved by their bytes, run from the store, and undone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import twinkle
from twinkle.core.errors import AmbiguousComponent, InvalidArgument
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.errors import ForbiddenFile, NoComponent, UntrustedComponent
from twinkle.testing.loopback_hub import LoopbackHub

from .conftest import BOTH, set_settings, trust

NAME = "kernels-community/tiny-norm"

LAYERS = b"""
import torch
from torch import nn

from ._scale import scaled


class RMSNorm(nn.Module):
    can_torch_compile = True
    weight: torch.Tensor
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return scaled(hidden_states, self.weight, self.variance_epsilon)


class ForwardOnly(RMSNorm):
    has_backward = False
"""
SCALE = b"""
import torch


def scaled(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight
"""
PACKAGE = {"__init__.py": b"from . import layers\n", "layers.py": LAYERS, "_scale.py": SCALE}
EXTRA = {
    "README.md": b"---\ntags: [kernel]\n---\n",
    "build.toml": b"[general]\nuniversal = true\n",
    "flake.nix": b"{}",
}


def repository(folder: str) -> dict[str, bytes]:
    """A repository with the package in ``folder``."""
    return {**EXTRA, **{f"{folder}/{path}": data for path, data in PACKAGE.items()}}


PLACES = ["build/torch-universal/tiny_norm", "build/torch-universal", "build/torch-cuda/tiny_norm", "torch-ext/tiny_norm"]


class RMSNorm(torch.nn.Module):
    """A layer as transformers has it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(0.5, 2, size))
        self.variance_epsilon = 1e-6

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.weight * hidden_states * (hidden_states.pow(2).mean(-1, keepdim=True) + self.variance_epsilon) ** -0.5


def model() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 6), RMSNorm(6), torch.nn.Linear(6, 3), RMSNorm(3))


@pytest.fixture
def on_hub(hub: LoopbackHub) -> Any:
    def put(files: Mapping[str, bytes], scheme: str = "hf", is_kernel: bool = False) -> str:
        repo = hub.repository("ms" if scheme == "ms" else "hf", NAME, dict(files))
        repo.is_kernel = is_kernel
        return f"{scheme}://{NAME}@{repo.head}"

    return put


def test_an_unapproved_repository_is_refused_without_a_request_and_nothing_changes(
    hub: LoopbackHub, context: ProcessContext, on_hub: Any
) -> None:
    ref, layers = on_hub(repository(PLACES[0])), model()
    with pytest.raises(UntrustedComponent, match=rf"twinkle plugin trust {ref}"):
        twinkle.kernelize(layers, {"Linear": lambda layer, input: input, "RMSNorm": f"{ref}#RMSNorm"})
    assert hub.log == []
    assert all("forward" not in vars(layer) for layer in layers.modules())
    assert context.patches.applied == ()


@BOTH
@pytest.mark.parametrize("place", PLACES)
def test_an_approved_layer_runs_from_the_store_and_is_undone(
    hub: LoopbackHub, context: ProcessContext, on_hub: Any, scheme: str, place: str
) -> None:
    ref, layers = on_hub(repository(place), scheme), model()
    grant = trust(context, ref)
    hub.repositories.clear()
    hub.log.clear()
    set_settings(context, offline=True)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    before, classes = layers(x), [type(layer) for layer in layers]
    torch.testing.assert_close(before, before)  # imports what it needs
    modules = set(sys.modules)
    with twinkle.kernelize(layers, {"RMSNorm": f"{ref}#RMSNorm"}) as handle:
        assert handle.replaced == {"RMSNorm": 2}
        assert handle.provenance["RMSNorm"]["h1"] == grant.h1
        swapped = type(layers[1])
        assert swapped is type(layers[3]) is not RMSNorm
        assert swapped.forward.__module__ == f"twinkle_components.c_{grant.h1[3:19]}.{place.replace('/', '.')}.layers"
        assert isinstance(layers[1], RMSNorm)
        assert swapped.__name__ == "RMSNorm"
        torch.testing.assert_close(layers(x), before)
    assert hub.log == []
    new = {name for name in set(sys.modules) - modules if not name.startswith("twinkle.")}
    assert all(name.startswith("twinkle_components") for name in new), new
    assert [type(layer) for layer in layers] == classes
    assert torch.equal(layers(x), before)


@pytest.mark.slow
def test_the_build_for_every_device_comes_first(context: ProcessContext, on_hub: Any) -> None:
    others = {path: b"raise ImportError" for v in ("cpu", "cuda", "xpu") for path in repository(f"build/torch-{v}/tiny_norm")}
    ref = on_hub({**others, **repository(PLACES[0])})
    trust(context, ref)
    with twinkle.kernelize(model(), {"RMSNorm": f"{ref}#RMSNorm"}) as handle:
        assert handle.provenance["RMSNorm"]["entry"] == "build.torch-universal.tiny_norm.layers:RMSNorm"


@pytest.mark.slow
def test_builds_for_several_devices_that_are_of_the_same_code_are_one(context: ProcessContext, on_hub: Any) -> None:
    builds = {path: data for device in ("xpu", "cuda") for path, data in repository(f"build/torch-{device}").items()}
    ref = on_hub({**builds, **{f"build/torch-{d}/metadata.json": f'{{"backend": "{d}"}}'.encode() for d in ("xpu", "cuda")}})
    trust(context, ref)
    with twinkle.kernelize(model(), {"RMSNorm": f"{ref}#RMSNorm"}) as handle:
        assert handle.provenance["RMSNorm"]["entry"] == "build.torch-cuda.layers:RMSNorm"


def test_a_repository_of_the_type_kernel_is_found_by_the_same_id(hub: LoopbackHub, context: ProcessContext, on_hub: Any) -> None:
    ref = on_hub(repository(PLACES[0]), is_kernel=True)
    trust(context, ref)
    assert any("/api/kernels/" in path for path in hub.paths())
    assert any(f"/kernels/{NAME}/resolve/" in path for path in hub.paths())
    with twinkle.kernelize(model(), {"RMSNorm": f"{ref}#RMSNorm"}) as handle:
        assert handle.replaced == {"RMSNorm": 2}


def test_other_bytes_under_the_same_id_are_refused(hub: LoopbackHub, context: ProcessContext, on_hub: Any) -> None:
    ref = on_hub(repository(PLACES[0])).partition("@")[0]
    trust(context, ref)
    hub.repository("hf", NAME).commit({f"{PLACES[0]}/_scale.py": SCALE + b"# changed\n"})
    hub_says = f"{ref}@{hub.repository('hf', NAME).head}"
    with pytest.raises(UntrustedComponent, match="digest changed"):
        twinkle.kernelize(model(), {"RMSNorm": f"{hub_says}#RMSNorm"})


def test_a_layer_without_gradient_is_for_inference(context: ProcessContext, on_hub: Any) -> None:
    ref, layers = on_hub(repository(PLACES[0])), model()
    trust(context, ref)
    with pytest.raises(InvalidArgument, match=r"no gradient \(has_backward = False\) and the model trains"):
        twinkle.kernelize(layers, {"RMSNorm": f"{ref}#ForwardOnly"})
    assert type(layers[1]) is RMSNorm
    with twinkle.kernelize(layers, {"RMSNorm": f"{ref}#ForwardOnly"}, mode="inference") as handle:
        assert handle.replaced == {"RMSNorm": 2}
    for parameter in layers.parameters():
        parameter.requires_grad_(False)
    with twinkle.kernelize(layers, {"RMSNorm": f"{ref}#ForwardOnly"}):
        pass
    with pytest.raises(InvalidArgument, match="no gradient"):
        twinkle.kernelize(layers, {"RMSNorm": f"{ref}#ForwardOnly"}, mode="training")


def test_a_native_build_is_refused_by_name(context: ProcessContext, on_hub: Any) -> None:
    native = "build/torch210-cxx11-cu130-x86_64-linux/tiny_norm/_tiny_norm.abi3.so"
    ref = on_hub({**repository(PLACES[0]), native: b"\x7fELF"})
    with pytest.raises(ForbiddenFile, match="a native build of a kernel; only builds of pure Python and Triton are loaded"):
        trust(context, ref)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "name", "error", "message"),
    [
        (repository(PLACES[0]), "", AmbiguousComponent, "write '#RMSNorm' or '#ForwardOnly' after it"),
        (repository(PLACES[0]), "#RmsNorm", NoComponent, "no layer 'RmsNorm'. Did you mean 'RMSNorm'"),
        ({"build/torch-universal/a/__init__.py": b""}, "#A", NoComponent, "no module 'layers'"),
        ({**repository("build/torch-universal/a"), **repository("build/torch-universal/b")}, "#A", NoComponent, "expected one package"),
        (
            {**repository("build/torch-cuda/a"), **repository("build/torch-xpu/a"), "build/torch-xpu/a/_scale.py": b"raise ImportError"},
            "#A",
            NoComponent,
            "its builds build/torch-cuda, build/torch-xpu differ, and none is for every device",
        ),
        ({"build/torch210-cu130-x86_64-linux/a.py": b""}, "#A", NoComponent, "native builds are not loaded"),
        (
            {"kernel-status.toml": b'kind = "redirect"\ndestination = "evil/other"\n', **repository(PLACES[0])},
            "#RMSNorm",
            NoComponent,
            "moved to 'evil/other': that is not followed",
        ),
    ],
)
def test_what_does_not_say_which_layer_is_meant_is_refused(
    hub: LoopbackHub, context: ProcessContext, on_hub: Any, files: dict[str, bytes], name: str, error: type, message: str
) -> None:
    ref = on_hub(files)
    trust(context, ref)
    hub.log.clear()
    with pytest.raises(error, match=message):
        twinkle.kernelize(model(), {"RMSNorm": ref + name})
    assert not [path for path in hub.paths() if "evil" in path]


def test_a_folder_with_the_sources_is_a_repository_too(tmp_path: Path) -> None:
    for path, data in repository("torch-ext/tiny_norm").items():
        file = tmp_path / "mine" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    with twinkle.kernelize(model(), {RMSNorm: f"file:{tmp_path}/mine#RMSNorm"}) as handle:
        assert handle.replaced == {"RMSNorm": 2}
