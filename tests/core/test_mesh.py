"""The device mesh and device groups, against layouts written down by hand."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinkle.core.errors import InvalidConfig
from twinkle.core.mesh import DeviceGroup, DeviceMesh, assign_ranks

AsRank = Callable[[int], None]


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch) -> AsRank:
    """Makes this process a rank of a launcher's world."""
    monkeypatch.delenv("RANK", raising=False)
    return lambda rank: monkeypatch.setenv("RANK", str(rank))


# fsdp 2 x pp 2 x dp 2 x tp 2: rank = 8 fsdp + 4 pp + 2 dp + tp
FOUR_DIMS = DeviceMesh.from_sizes(fsdp_size=2, pp_size=2, dp_size=2, tp_size=2)


def test_from_sizes_orders_the_dims_fsdp_pp_dp_cp_tp() -> None:
    mesh = DeviceMesh.from_sizes(tp_size=3, cp_size=2, dp_size=1, pp_size=5, fsdp_size=7)
    assert mesh.mesh_dim_names == ("fsdp", "pp", "dp", "cp", "tp")
    assert mesh.mesh.shape == (7, 5, 1, 2, 3)
    assert mesh.mesh.ravel().tolist() == list(range(210))


def test_dims_that_are_not_given_are_absent() -> None:
    mesh = DeviceMesh.from_sizes(tp_size=2)
    assert mesh.mesh_dim_names == ("dp", "tp")
    assert (mesh.dp_world_size, mesh.tp_world_size, mesh.fsdp_world_size, mesh.ep_world_size) == (1, 2, 0, 0)
    assert DeviceMesh.from_sizes(dp_size=None, fsdp_size=4).mesh_dim_names == ("fsdp",)


def test_world_size_is_the_product_unless_it_is_given() -> None:
    assert DeviceMesh.from_sizes(fsdp_size=4, dp_size=2).world_size == 8
    assert DeviceMesh.from_sizes(world_size=8, fsdp_size=4, dp_size=2).world_size == 8
    with pytest.raises(InvalidConfig, match="fsdp 4 x dp 1 = 4 ranks, but world_size is 8"):
        DeviceMesh.from_sizes(world_size=8, fsdp_size=4)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_an_error(size: int) -> None:
    with pytest.raises(InvalidConfig, match="tp_size"):
        DeviceMesh.from_sizes(tp_size=size)
    with pytest.raises(InvalidConfig, match="vpp_size"):
        DeviceMesh.from_sizes(vpp_size=size)


@pytest.mark.parametrize("rank", range(16))
def test_ranks_along_dims_are_the_digits_of_the_global_rank(rank: int, as_rank: AsRank) -> None:
    as_rank(rank)
    fsdp, pp, dp, tp = rank // 8, rank // 4 % 2, rank // 2 % 2, rank % 2
    assert (FOUR_DIMS.fsdp_rank, FOUR_DIMS.pp_rank, FOUR_DIMS.dp_rank, FOUR_DIMS.tp_rank) == (fsdp, pp, dp, tp)
    assert FOUR_DIMS.cp_rank is None and FOUR_DIMS.ep_rank is None
    assert FOUR_DIMS.data_rank == 2 * dp + fsdp
    assert FOUR_DIMS.is_pp_first_rank() is (pp == 0)
    assert FOUR_DIMS.is_pp_last_rank() is (pp == 1)
    assert FOUR_DIMS.is_tp_last_rank() is (tp == 1)
    assert FOUR_DIMS.get_tp_ranks() == [rank - tp, rank - tp + 1]


def test_every_dim_has_a_rank_and_a_size(as_rank: AsRank) -> None:
    as_rank(9)
    mesh = DeviceMesh(np.arange(10).reshape(5, 2), ("cp", "ep"))
    assert (mesh.cp_rank, mesh.cp_world_size, mesh.ep_rank, mesh.ep_world_size) == (4, 5, 1, 2)
    assert (FOUR_DIMS.pp_world_size, FOUR_DIMS.cp_world_size, mesh.pp_world_size, mesh.dp_world_size) == (2, 0, 0, 0)


def test_a_process_without_a_rank_has_no_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert FOUR_DIMS.dp_rank is None and FOUR_DIMS.tp_rank is None
    with pytest.raises(InvalidConfig, match="fsdp 2 x pp 2 x dp 2 x tp 2 = 16 holds the ranks 0-15, and this process has no rank"):
        _ = FOUR_DIMS.data_rank
    with pytest.raises(InvalidConfig, match="no rank"):
        FOUR_DIMS.is_pp_last_rank()


def test_a_process_outside_of_the_mesh_is_told_so(as_rank: AsRank) -> None:
    as_rank(4)
    mesh = DeviceMesh.from_sizes(dp_size=2, pp_size=2)
    assert mesh.dp_rank is None
    for ask in (mesh.is_pp_first_rank, mesh.is_pp_last_rank, lambda: mesh.get_slice(8)):
        with pytest.raises(InvalidConfig, match="rank 4 is not one of them"):
            ask()


def test_one_data_rank_is_everyones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    mesh = DeviceMesh.from_sizes(tp_size=4)
    assert (mesh.data_rank, mesh.data_world_size) == (0, 1)
    assert mesh.get_slice(5) == slice(0, 5)


def test_a_mesh_without_dp_still_splits_data_over_fsdp(as_rank: AsRank) -> None:
    mesh = DeviceMesh(np.arange(4), ("fsdp",))
    assert mesh.data_world_size == 4
    as_rank(3)
    assert mesh.data_rank == 3


def test_ulysses_peers_share_a_data_rank() -> None:
    mesh = DeviceMesh.from_sizes(dp_size=2, fsdp_size=4, ulysses_size=2)  # rank = 2 fsdp + dp
    assert mesh.data_world_size == 4
    assert [mesh.data_rank_of(rank) for rank in range(8)] == [0, 2, 0, 2, 1, 3, 1, 3]
    with pytest.raises(InvalidConfig, match="ulysses_size 3 does not divide the 8 data ranks"):
        DeviceMesh.from_sizes(dp_size=2, fsdp_size=4, ulysses_size=3)


def test_get_slice_by_hand() -> None:
    mesh = DeviceMesh.from_sizes(dp_size=3)
    assert [mesh.get_slice(11, rank) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 11)]
    with pytest.raises(IndexError, match="part 3 of 3"):
        mesh.get_slice(11, 3)


@given(total=st.integers(0, 200), dp=st.integers(1, 6), fsdp=st.integers(1, 6))
def test_slices_cover_everything_once_and_are_balanced(total: int, dp: int, fsdp: int) -> None:
    mesh = DeviceMesh.from_sizes(dp_size=dp, fsdp_size=fsdp, tp_size=2)
    parts = [list(range(total))[mesh.get_slice(total, rank)] for rank in range(dp * fsdp)]
    assert [i for part in parts for i in part] == list(range(total))
    lengths = [len(part) for part in parts]
    assert lengths == sorted(lengths, reverse=True) and max(lengths) - min(lengths) <= 1


def test_collect_ranks_are_one_a_data_rank_on_the_last_stage_and_the_first_tp() -> None:
    # data rank = 2 dp + fsdp; pp = 1 and tp = 0: rank = 8 fsdp + 4 + 2 dp
    assert FOUR_DIMS.get_collect_ranks() == [4, 12, 6, 14]
    assert DeviceMesh.from_sizes(tp_size=4).get_collect_ranks() == [0]
    assert DeviceMesh.from_sizes(dp_size=4, ulysses_size=2).get_collect_ranks() == [0, 2]
    assert DeviceMesh.from_sizes(dp_size=2, cp_size=2).get_collect_ranks() == [0, 2]
    # A mesh whose tp runs against the order of the ranks: tp decides, not the number of the rank.
    assert DeviceMesh(np.array([[1, 0], [3, 2]]), ("dp", "tp")).get_collect_ranks() == [1, 3]


def test_pipeline_stages() -> None:
    mesh = DeviceMesh.from_sizes(pp_size=3, dp_size=2)
    assert [mesh.get_pp_stage_ranks(stage) for stage in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert (mesh.get_pp_first_ranks(), mesh.get_pp_last_ranks()) == ([0, 1], [4, 5])
    for stage in (3, -1):
        with pytest.raises(InvalidConfig, match="pipeline stages 0 to 2"):
            mesh.get_pp_stage_ranks(stage)


def test_without_pp_everyone_is_first_and_last(as_rank: AsRank) -> None:
    as_rank(1)
    mesh = DeviceMesh.from_sizes(dp_size=2)
    assert mesh.get_pp_first_ranks() == mesh.get_pp_last_ranks() == mesh.get_pp_stage_ranks(0) == [0, 1]
    assert mesh.is_pp_first_rank() and mesh.is_pp_last_rank() and mesh.is_tp_last_rank()
    assert mesh.get_tp_ranks() == [1]
    with pytest.raises(InvalidConfig, match="not 1"):
        mesh.get_pp_stage_ranks(1)


def test_a_mesh_can_be_made_directly(as_rank: AsRank) -> None:
    mesh = DeviceMesh(device_type="GPU", mesh=np.arange(4).reshape(2, 2), mesh_dim_names=("dp", "ep"))
    assert (mesh.device_type, mesh.world_size, mesh.ep_world_size, mesh.data_world_size) == ("cuda", 4, 2, 2)
    as_rank(3)
    assert (mesh.dp_rank, mesh.ep_rank) == (1, 1)
    assert mesh.order == "tp-cp-ep-dp-pp"


@pytest.mark.parametrize(
    ("ranks", "names", "message"),
    [
        (np.arange(4), ("data",), "no dim 'data'"),
        (np.arange(4), ("dp", "tp"), r"shape \(4,\)"),
        (np.arange(4).reshape(2, 2), ("dp", "dp"), "one dim twice"),
        (np.array([0, 0]), ("dp",), "each global rank once"),
        (np.array([-1, 0]), ("dp",), "each global rank once"),
        (np.arange(0), ("dp",), "each global rank once"),
        (np.array(0), (), "one axis or more"),
        (np.array([0.0, 1.5]), ("dp",), "whole numbers"),
    ],
)
def test_a_mesh_that_makes_no_sense_is_an_error(ranks: np.ndarray, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        DeviceMesh(ranks, names)


def test_experts_are_shared_out_evenly() -> None:
    assert DeviceMesh.from_sizes(dp_size=4, ep_size=2).ep_size == 2
    with pytest.raises(InvalidConfig, match="ep_size 3 does not divide the 4 ranks"):
        DeviceMesh.from_sizes(dp_size=4, ep_size=3)


def test_a_mesh_is_a_value() -> None:
    mesh, same = DeviceMesh.from_sizes(dp_size=2, tp_size=2), DeviceMesh.from_sizes(dp_size=2, tp_size=2)
    assert mesh == same and hash(mesh) == hash(same) and mesh == pickle.loads(pickle.dumps(mesh))
    different = [
        DeviceMesh.from_sizes(dp_size=2, cp_size=2),
        DeviceMesh.from_sizes(dp_size=2, tp_size=2, sequence_parallel=True),
        DeviceMesh(np.arange(4)[::-1].reshape(2, 2), ("dp", "tp"), etp_size=1),
    ]
    assert all(mesh != other for other in different) and mesh != "dp 2 x tp 2 = 4"
    assert DeviceMesh.from_sizes().etp_size == 1
    with pytest.raises(ValueError, match="read-only"):
        mesh.mesh[0, 0] = 7
    with pytest.raises(ValueError, match="read-only"):
        pickle.loads(pickle.dumps(mesh)).mesh[0, 0] = 7
    ranks = np.arange(4)
    copied = DeviceMesh(ranks, ("dp",))
    ranks[0] = 9
    assert copied.ranks == [0, 1, 2, 3]


def test_a_mesh_prints_its_sum() -> None:
    assert str(FOUR_DIMS) == "fsdp 2 x pp 2 x dp 2 x tp 2 = 16"
    assert repr(DeviceMesh(np.arange(4), ("dp",), ulysses_size=2)) == "DeviceMesh(dp 4 = 4, ulysses_size=2)"


def test_single_keeps_the_dims_and_splits_nothing() -> None:
    single = DeviceMesh.from_sizes(fsdp_size=4, dp_size=2, ulysses_size=4, ep_size=8).single()
    assert (single.sizes, single.ranks, single.data_world_size) == ({"fsdp": 1, "dp": 1}, [0], 1)
    assert (single.ep_size, single.ulysses_size) == (None, None)


def test_peers_vary_along_the_named_dims_alone() -> None:
    assert FOUR_DIMS.peers(5, "dp") == [5, 7]
    assert FOUR_DIMS.peers(5, ("fsdp", "dp")) == [5, 7, 13, 15]
    assert FOUR_DIMS.peers(5, ()) == [5]
    with pytest.raises(InvalidConfig, match="has no dim 'cp'"):
        FOUR_DIMS.peers(5, "cp")


# ---- groups


def test_a_number_of_ranks_takes_the_next_free_ones() -> None:
    first, second, third = assign_ranks(
        [DeviceGroup("a", 2, "GPU"), DeviceGroup("b", [1, 5], "cuda"), DeviceGroup("c", 3, "gpu")],
    )
    assert (first.ranks, second.ranks, third.ranks) == ((0, 2), (1, 5), (3, 4, 6))


def test_a_number_of_ranks_may_be_numpys() -> None:
    assert DeviceGroup("a", np.int64(3), "GPU").num_devices == 3  # type: ignore[arg-type]


def test_devices_of_different_types_are_counted_apart() -> None:
    gpus, cpus = assign_ranks([DeviceGroup("model", 2, "GPU"), DeviceGroup("data", 2, "CPU")])
    assert gpus.ranks == cpus.ranks == (0, 1)
    assert (gpus.device.type, cpus.device.type) == ("cuda", "cpu")


def test_two_groups_cannot_claim_a_device_or_a_name() -> None:
    with pytest.raises(InvalidConfig, match="GPU 1 is claimed by groups 'a' and 'b'"):
        assign_ranks([DeviceGroup("a", [0, 1], "GPU"), DeviceGroup("b", [1], "CUDA")])
    with pytest.raises(InvalidConfig, match="two groups are named 'a'"):
        assign_ranks([DeviceGroup("a", 1, "GPU"), DeviceGroup("a", 1, "GPU")])


def test_workers_share_out_the_devices() -> None:
    assert DeviceGroup("sampler", 8, "GPU", gpus_per_worker=4).num_workers == 2
    with pytest.raises(InvalidConfig, match="6 devices cannot be shared out, 4 to a worker"):
        DeviceGroup("sampler", list(range(6)), "GPU", gpus_per_worker=4)


@pytest.mark.parametrize("ranks", [0, [], [0, 0], [-1]])
def test_a_group_has_each_device_once(ranks: int | list[int]) -> None:
    with pytest.raises(InvalidConfig, match="group 'g'"):
        DeviceGroup("g", ranks, "CPU")


def test_an_unknown_device_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(InvalidConfig, match=r"no device is named 'GPUS'\. Did you mean 'gpu'"):
        DeviceGroup("g", 1, "GPUS")
