"""``initialize()``: what it sets, what it refuses, what it seeds."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

import twinkle
from twinkle.core.errors import InvalidConfig
from twinkle.core.hookspecs import hookimpl
from twinkle.core.mesh import DeviceGroup, DeviceMesh
from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.runtime.initialize import initialize
from twinkle.core.runtime.placement import Layout
from twinkle.core.settings import Settings
from twinkle.plugins_builtin.executor._local import LocalExecutor


@pytest.fixture(autouse=True)
def random_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Random generators and torch's switches as they were, afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    torch.use_deterministic_algorithms(False)


def draws() -> tuple[float, float, float]:
    """The next number of each generator."""
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_local_mode_fills_in_one_group_and_a_dp_mesh_over_the_world() -> None:
    with use_context(ProcessContext.fresh(Settings(rank=0, world_size=4, device="cpu"))) as context:
        initialize()
        assert context.mesh == DeviceMesh.from_sizes(dp_size=4)
        (group,) = context.groups
        assert (group.name, group.ranks, group.device.type) == ("default", (0, 1, 2, 3), "cpu")


def test_what_is_given_is_kept(context: ProcessContext) -> None:
    mesh = DeviceMesh.from_sizes(tp_size=1)
    groups = [DeviceGroup("a", 2, "GPU"), DeviceGroup("b", 1, "GPU")]
    initialize("local", 3, 2, 7, groups=groups, global_device_mesh=mesh, lazy_collect=False)
    assert [group.ranks for group in context.groups] == [(0, 1), (2,)]
    assert context.mesh is mesh and isinstance(context.executor, LocalExecutor)
    assert (context.mode, context.nproc_per_node, context.ncpu_proc_per_node, context.seed) == ("local", 3, 2, 7)
    assert (context.lazy_collect, context.full_determinism) == (False, False)


def test_the_defaults(context: ProcessContext) -> None:
    initialize()
    assert (context.mode, context.nproc_per_node, context.ncpu_proc_per_node, context.seed) == ("local", 8, 8, 42)
    assert (context.lazy_collect, context.full_determinism) == (True, False)


def test_a_mesh_that_does_not_fit_the_world_is_an_error_that_shows_the_sum(context: ProcessContext) -> None:
    with pytest.raises(InvalidConfig, match=r"fsdp 4 x dp 2 = 8 ranks, but this run has 1 process \(WORLD_SIZE\): start 8 of them"):
        initialize(global_device_mesh=DeviceMesh.from_sizes(fsdp_size=4, dp_size=2))
    with (
        use_context(ProcessContext.fresh(Settings(rank=0, world_size=4, device="cpu"))),
        pytest.raises(InvalidConfig, match="dp 2 = 2 ranks, but this run has 4 processes"),
    ):
        initialize(global_device_mesh=DeviceMesh.from_sizes(dp_size=2))
    assert context.initialized_with is None and context.mesh is None
    initialize()


def test_the_same_arguments_twice_are_fine_and_others_are_not(context: ProcessContext) -> None:
    def arguments(lazy_collect: bool = True) -> dict[str, object]:
        return {"groups": [DeviceGroup("a", 1, "CPU")], "global_device_mesh": DeviceMesh.from_sizes(), "lazy_collect": lazy_collect}

    initialize(**arguments())  # type: ignore[arg-type]
    executor = context.executor
    random.seed(0)
    before = random.getstate()
    initialize(**arguments())  # type: ignore[arg-type]
    assert context.executor is executor and random.getstate() == before
    with pytest.raises(InvalidConfig, match=r"called before with other arguments \(lazy_collect=True then, False now\)"):
        initialize(**arguments(lazy_collect=False))  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match="seed=42 then, 43 now; groups="):
        initialize(seed=43)


def test_spelling_out_a_default_is_no_other_argument() -> None:
    initialize()
    initialize("local", seed=42, full_determinism=False)


def test_every_generator_is_seeded() -> None:
    initialize(seed=5)
    seeded = draws()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert seeded == draws()
    with use_context(ProcessContext.fresh(Settings())):
        initialize(seed=6)
        assert all(a != b for a, b in zip(seeded, draws(), strict=True))


def test_the_environment_gives_what_is_not_said(context: ProcessContext) -> None:
    settings = Settings(seed=9, full_determinism=True)
    with use_context(ProcessContext.fresh(settings)) as own:
        initialize()
        assert (own.seed, own.full_determinism) == (9, True)
        nine = draws()
    with use_context(ProcessContext.fresh(settings)) as own:
        initialize(seed=1, full_determinism=False)
        assert (own.seed, own.full_determinism) == (1, False)
    initialize(seed=9)
    assert draws() == nine


def test_full_determinism_makes_torch_refuse_what_may_differ() -> None:
    initialize(full_determinism=True)
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.benchmark is False
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_without_full_determinism_torch_is_left_alone() -> None:
    initialize()
    assert not torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_an_unknown_mode_is_a_lookup_error_with_what_there_is(context: ProcessContext) -> None:
    with pytest.raises(LookupError, match=r"no executor is named 'lokal'\. Did you mean 'local'"):
        initialize("lokal")
    assert context.initialized_with is None


def test_a_plugin_brings_a_mode(context: ProcessContext) -> None:
    class Cluster(LocalExecutor):
        def start(self, layout: Layout) -> Layout:
            assert (layout.nproc_per_node, layout.ncpu_proc_per_node) == (4, 8)
            return layout

    class Plugin:
        @hookimpl
        def twinkle_executors(self) -> dict[str, type]:
            return {"cluster": Cluster}

    context.registry.register(Plugin(), "cluster")
    initialize("cluster", nproc_per_node=4, global_device_mesh=DeviceMesh.from_sizes(dp_size=32))
    assert (context.mode, type(context.executor)) == ("cluster", Cluster)
    assert context.mesh is not None and context.mesh.world_size == 32


def test_it_is_the_public_name() -> None:
    assert twinkle.initialize is initialize
