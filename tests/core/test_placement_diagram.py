"""The placement diagram, drawn by hand."""

from __future__ import annotations

import pytest

from twinkle.core.errors import InvalidArgument
from twinkle.core.mesh import DeviceGroup, DeviceMesh
from twinkle.core.rank_spans import rank_spans
from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.runtime.initialize import initialize
from twinkle.core.runtime.placement_diagram import get_device_placement
from twinkle.core.runtime.remote import remote_class
from twinkle.core.settings import Settings


@remote_class()
class Loader: ...


@remote_class()
class Trainer: ...


@pytest.fixture(autouse=True)
def on_cpu(context: ProcessContext) -> object:
    """A context that names its device."""
    with use_context(ProcessContext.fresh(Settings(device="cpu"))) as named:
        yield named


def test_a_bare_process_is_one_box() -> None:
    assert get_device_placement() == "\n".join(
        [
            "+-------------------------+",
            "| local: rank 0 of 1, CPU |",
            "+-------------------------+",
        ]
    )


def test_components_stand_where_they_were_placed() -> None:
    Loader()
    Loader()
    Trainer(remote_group="default")
    assert get_device_placement() == "\n".join(
        [
            "+-------------------------+",
            "| local: rank 0 of 1, CPU |",
            "+-------------------------+",
            "| this process            |",
            "|   Loader x 2            |",
            "+-------------------------+",
            "| group 'default'         |",
            "|   Trainer               |",
            "+-------------------------+",
        ]
    )


def test_groups_meshes_and_ranks_are_drawn() -> None:
    with use_context(ProcessContext.fresh(Settings(rank=5, world_size=8, device="cpu"))):
        mesh = DeviceMesh.from_sizes(fsdp_size=2, dp_size=2, tp_size=2)
        groups = [DeviceGroup("model", [0, 1, 2, 5], "GPU"), DeviceGroup("rest", 4, "GPU", gpus_per_worker=2)]
        initialize(groups=groups, global_device_mesh=mesh)
        Trainer(remote_group="model", device_mesh=mesh)
        Loader(remote_group="model", device_mesh=DeviceMesh.from_sizes(dp_size=8))
        Loader(remote_group="model")
        assert get_device_placement() == "\n".join(
            [
                "+--------------------------------------------------------+",
                "| local: rank 5 of 8, CPU                                |",
                "|   mesh fsdp 2 x dp 2 x tp 2 = 8                        |",
                "|                  tp 0  tp 1                            |",
                "|     fsdp 0 dp 0     0     1                            |",
                "|     fsdp 0 dp 1     2     3                            |",
                "|     fsdp 1 dp 0     4     5                            |",
                "|     fsdp 1 dp 1     6     7                            |",
                "+--------------------------------------------------------+",
                "| group 'model': GPU 0-2, 5                              |",
                "|   Trainer, Loader                                      |",
                "|   Loader                                               |",
                "|     mesh dp 8 = 8                                      |",
                "|         dp 0  dp 1  dp 2  dp 3  dp 4  dp 5  dp 6  dp 7 |",
                "|            0     1     2     3     4     5     6     7 |",
                "+--------------------------------------------------------+",
                "| group 'rest': GPU 3-4, 6-7, 2 to a worker              |",
                "+--------------------------------------------------------+",
            ]
        )
        assert get_device_placement("rest").splitlines()[1] == "| group 'rest': GPU 3-4, 6-7, 2 to a worker |"
        assert len(get_device_placement("rest").splitlines()) == 3
        with pytest.raises(InvalidArgument, match=r"no group is named 'modell'\. Did you mean 'model'"):
            get_device_placement("modell")


def test_a_mesh_that_runs_on_one_rank_is_drawn_as_that(caplog: pytest.LogCaptureFixture) -> None:
    Trainer(device_mesh=DeviceMesh.from_sizes(dp_size=4))
    assert "|     mesh dp 4 = 4, here on one rank |" in get_device_placement()
    assert len(caplog.records) == 1


def test_a_huge_mesh_is_named_and_not_drawn() -> None:
    for world_size, num_lines in ((2, 8), (64, 8), (65, 6)):
        with use_context(ProcessContext.fresh(Settings(rank=0, world_size=world_size, device="cpu"))):
            initialize()
            assert len(get_device_placement().splitlines()) == num_lines


def test_ranks_in_few_letters() -> None:
    assert rank_spans([8, 0, 1, 2, 3]) == "0-3, 8"
    assert rank_spans([4]) == "4"
    assert rank_spans([]) == ""
