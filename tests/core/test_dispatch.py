"""Sharing out arguments and putting results together: pure rules, checked by hand and by property."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twinkle.core.errors import InvalidArgument, InvalidConfig, InvalidData
from twinkle.core.mesh import DeviceMesh
from twinkle.core.runtime.dispatch import chosen_workers, collect, data_shards, dispatch

DP2_TP2 = DeviceMesh.from_sizes(dp_size=2, tp_size=2)  # ranks 0, 1 are data rank 0; 2, 3 are data rank 1
PP2_DP2 = DeviceMesh.from_sizes(pp_size=2, dp_size=2)  # ranks 0, 1 are stage 0; 2, 3 are stage 1


def firsts(calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
    """The first positional argument of each worker."""
    return [args[0] for args, _ in calls]


# ---- which workers


def test_execute_chooses_workers() -> None:
    assert chosen_workers("all", 3) == [0, 1, 2]
    assert chosen_workers("first", 3, rank=2) == [0]
    assert [chosen_workers("peer", 3, rank) for rank in (-1, 0, 2, 4)] == [[0], [0], [2], [1]]


def test_workers_of_one_data_rank_share_a_shard() -> None:
    assert data_shards(4, DP2_TP2) == [0, 0, 1, 1]
    assert data_shards(4, PP2_DP2) == [0, 1, 0, 1]
    assert data_shards(8, DeviceMesh.from_sizes(dp_size=2, fsdp_size=4)) == [0, 4, 1, 5, 2, 6, 3, 7]
    assert data_shards(4, DeviceMesh.from_sizes(dp_size=4, ulysses_size=2)) == [0, 0, 1, 1]
    assert data_shards(3, None) == [0, 1, 2]


def test_a_worker_with_several_devices_gets_the_data_of_all_of_them() -> None:
    assert data_shards(2, DP2_TP2) == [0, 1]
    assert data_shards(2, DeviceMesh.from_sizes(dp_size=4)) == [0, 1]
    assert data_shards(2, DeviceMesh.from_sizes(pp_size=2, dp_size=2)) == [0, 0]
    with pytest.raises(InvalidConfig, match="dp 4 = 4 ranks cannot be shared out to 3 workers"):
        data_shards(3, DeviceMesh.from_sizes(dp_size=4))
    with pytest.raises(InvalidConfig, match="would share single data ranks"):
        data_shards(2, DeviceMesh.from_sizes(dp_size=3, tp_size=2))


# ---- sharing out


def test_all_gives_the_same_to_each() -> None:
    calls = dispatch("all", 2, ([1, 2],), {"flag": True})
    assert calls == [(([1, 2],), {"flag": True})] * 2
    assert calls[0][1] is not calls[1][1]


def test_slice_splits_lists_alone() -> None:
    array = np.arange(3)
    calls = dispatch("slice", 2, ([1, 2, 3], (1, 2, 3), "abc"), {"array": array, "labels": ["x"]})
    assert [args for args, _ in calls] == [([1, 2], (1, 2, 3), "abc"), ([3], (1, 2, 3), "abc")]
    assert [kwargs["labels"] for _, kwargs in calls] == [["x"], []]
    assert all(kwargs["array"] is array for _, kwargs in calls)


def test_slice_dp_gives_peers_the_same_rows() -> None:
    assert firsts(dispatch("slice_dp", 4, ([1, 2, 3],), {}, DP2_TP2)) == [[1, 2], [1, 2], [3], [3]]
    assert firsts(dispatch("slice_dp", 4, ([1, 2, 3],), {}, PP2_DP2)) == [[1, 2], [3], [1, 2], [3]]


def test_slice_dp_splits_lists_arrays_tensors_and_the_values_of_dicts() -> None:
    batch = {"ids": torch.arange(6).reshape(3, 2), "more": {"rewards": [1.0, 2.0, 3.0]}, "scale": 0.5, "zero_dim": torch.tensor(7)}
    (first, second) = firsts(dispatch("slice_dp", 2, (batch,), {}, DeviceMesh.from_sizes(dp_size=2)))
    assert first["ids"].tolist() == [[0, 1], [2, 3]] and second["ids"].tolist() == [[4, 5]]
    assert first["more"] == {"rewards": [1.0, 2.0]} and second["more"] == {"rewards": [3.0]}
    assert first["scale"] == second["scale"] == 0.5 and first["zero_dim"].item() == 7
    named = dispatch("slice_dp", 2, (), {"weights": np.arange(4), "betas": (0.9, 0.999)}, DeviceMesh.from_sizes(dp_size=2))
    assert [kwargs["weights"].tolist() for _, kwargs in named] == [[0, 1], [2, 3]]
    assert [kwargs["betas"] for _, kwargs in named] == [(0.9, 0.999)] * 2


def test_slice_dp_leaves_the_rows_themselves_whole() -> None:
    rows = [{"input_ids": [1, 2, 3]}, {"input_ids": [4]}]
    assert firsts(dispatch("slice_dp", 2, (rows,), {}, DeviceMesh.from_sizes(dp_size=2))) == [[rows[0]], [rows[1]]]


def test_a_batch_with_fewer_rows_than_data_ranks_is_an_error() -> None:
    mesh = DeviceMesh.from_sizes(dp_size=4)
    with pytest.raises(InvalidData, match="batch too small: inputs has 3 rows for 4 data ranks"):
        dispatch("slice_dp", 4, (), {"inputs": [1, 2, 3]}, mesh)
    with pytest.raises(ValueError, match=r"argument 0\['ids'\] has 2 rows"):
        dispatch("slice_dp", 4, ({"ids": torch.zeros(2, 5)},), {}, mesh)
    assert firsts(dispatch("slice_dp", 4, ([1, 2, 3, 4],), {}, mesh)) == [[1], [2], [3], [4]]


@given(rows=st.integers(0, 60), num_workers=st.integers(1, 9))
def test_slice_hands_out_every_row_once_and_evenly(rows: int, num_workers: int) -> None:
    parts = firsts(dispatch("slice", num_workers, (list(range(rows)),), {}))
    assert [row for part in parts for row in part] == list(range(rows))
    assert len(parts) == num_workers and max(map(len, parts)) - min(map(len, parts)) <= 1


@given(
    sizes=st.fixed_dictionaries({f"{dim}_size": st.integers(1, 3) for dim in ("dp", "fsdp", "pp", "cp", "tp")}),
    ulysses=st.booleans(),
    extra=st.integers(0, 10),
)
def test_slice_dp_hands_out_every_row_once_to_the_collect_ranks(sizes: dict[str, int], ulysses: bool, extra: int) -> None:
    data_ranks = sizes["dp_size"] * sizes["fsdp_size"]
    mesh = DeviceMesh.from_sizes(**sizes, ulysses_size=data_ranks if ulysses else None)
    rows = list(range(mesh.data_world_size + extra))
    parts = firsts(dispatch("slice_dp", mesh.world_size, (rows,), {}, mesh))
    assert [row for rank in mesh.get_collect_ranks() for row in parts[rank]] == rows
    for rank in range(mesh.world_size):
        assert parts[rank] == rows[mesh.get_slice(len(rows), mesh.data_rank_of(rank))]
    assert collect("flatten", parts, mesh, "slice_dp") == rows


def test_a_function_dispatches_as_it_likes() -> None:
    def rule(num_workers: int, i: int, args: tuple[Any, ...], kwargs: dict[str, Any], device_mesh: DeviceMesh) -> Any:
        return (args[0] * 10 + i, num_workers), {**kwargs, "mesh": device_mesh}

    assert dispatch(rule, 2, (4,), {"a": 1}, DP2_TP2) == [((40, 2), {"a": 1, "mesh": DP2_TP2}), ((41, 2), {"a": 1, "mesh": DP2_TP2})]


# ---- putting together


def test_none_keeps_every_result_and_unwraps_a_single_one() -> None:
    assert collect("none", [1, 2]) == [1, 2]
    assert collect("none", [[1]]) == [1]


def test_flatten_makes_one_flat_list() -> None:
    assert collect("flatten", [[1, [2]], [], 3, [4]]) == [1, 2, 3, 4]
    assert collect("flatten", [[1]]) == [1]
    assert collect("flatten", ["ab", "cd"]) == ["ab", "cd"]


def test_mean_and_sum_reduce_numbers_and_tensors() -> None:
    assert (collect("mean", [1, 2, 6]), collect("sum", [1, 2, 6])) == (3.0, 9)
    assert collect("sum", [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]).tolist() == [4.0, 6.0]
    assert collect("mean", [np.float32(1), np.float32(2)]) == 1.5


def test_mean_and_sum_reduce_dicts_by_key_and_keep_what_is_no_number() -> None:
    first = {"loss": 1.0, "name": "a", "ok": True, "inner": {"n": 1}}
    results = [first, {"loss": 3.0, "name": "b", "ok": False, "inner": {"n": 2}, "late": 5}]
    kept = {"name": ["a", "b"], "ok": [True, False]}
    assert collect("mean", results) == {"loss": 2.0, "inner": {"n": 1.5}, "late": 5.0, **kept}
    assert collect("sum", results) == {"loss": 4.0, "inner": {"n": 3}, "late": 5, **kept}
    assert collect("mean", [None, None]) == [None, None]
    assert collect("mean", [None]) is None


def test_first_and_last_stage() -> None:
    assert collect("first", ["a", "b"]) == "a"
    assert collect("last_pp", list("abcd"), PP2_DP2) == ["c", "d"]
    assert collect("last_pp_first", list("abcd"), PP2_DP2) == "c"
    assert collect("last_pp", list("ab"), DeviceMesh.from_sizes(pp_size=2)) == "b"
    assert collect("last_pp", list("ab"), DeviceMesh.from_sizes(pp_size=2, tp_size=2)) == "b"
    assert collect("last_pp", list("ab")) == ["a", "b"]
    upside_down = DeviceMesh(np.array([[2, 3], [0, 1]]), ("pp", "tp"))
    assert collect("last_pp", list("ab"), upside_down) == "a"


def test_work_that_peers_did_twice_counts_once() -> None:
    assert collect("sum", [1, 1, 2, 2], DP2_TP2, "slice_dp") == 3
    assert collect("mean", [1, 1, 2, 2], DP2_TP2, "slice_dp") == 1.5
    assert collect("flatten", [[1], [1], [2], [2]], DP2_TP2, "slice_dp") == [1, 2]
    assert collect("sum", [1, 1, 2, 2], DP2_TP2, "all") == 6
    assert collect("none", [1, 1, 2, 2], DP2_TP2, "slice_dp") == [1, 1, 2, 2]


def test_of_pipeline_stages_the_last_one_counts() -> None:
    assert collect("flatten", [None, None, [1], [2]], PP2_DP2, "slice_dp") == [1, 2]


def test_tuples_are_collected_element_by_element() -> None:
    assert collect("mean", [(1.0, {"n": 2}), (3.0, {"n": 4})]) == (2.0, {"n": 3.0})
    assert collect("none", [(1, "a"), (2, "b")]) == ([1, 2], ["a", "b"])
    assert collect("sum", [(1, 1), (1, 1), (2, 2), (2, 2)], DP2_TP2, "slice_dp") == (3, 3)
    assert collect("mean", [(1.0, "a")]) == (1.0, "a")
    assert collect("none", [(1,), (1, 2)]) == [(1,), (1, 2)]


def test_a_function_collects_as_it_likes() -> None:
    assert collect(lambda results, device_mesh: (max(results), device_mesh.world_size), [3, 5], DP2_TP2) == (5, 4)


def test_an_unknown_rule_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(InvalidArgument, match="Did you mean 'slice'"):
        dispatch("slices", 1, (), {})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="Did you mean 'flatten'"):
        collect("flattn", [1])  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="'peer'"):
        chosen_workers("some", 1)  # type: ignore[arg-type]
