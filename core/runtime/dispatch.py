"""How the arguments of one call are shared out to workers, and how their results become one. Pure rules, used by every executor.

Worker ``i`` of ``n`` drives the ranks ``i * s .. (i + 1) * s - 1`` of the mesh, ``s = mesh.world_size / n`` (1 but for workers with several
devices). Workers whose ranks have the same data ranks (peers along tp, pp, cp, ulysses) share one *shard* of the data.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from twinkle.core.balanced_slice import balanced_slice
from twinkle.core.errors import InvalidArgument, InvalidConfig, InvalidData
from twinkle.core.runtime.placement import COLLECT_RULES, DISPATCH_RULES, Collect, Dispatch, Execute
from twinkle.core.suggestion import did_you_mean

if TYPE_CHECKING:
    from twinkle.core.mesh import DeviceMesh

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments."""


def chosen_workers(execute: Execute, num_workers: int, rank: int = -1) -> list[int]:
    """The indexes of the workers that a call reaches; ``rank`` is the caller's, for "peer" (a driver without a rank is rank 0)."""
    match execute:
        case "all":
            return list(range(num_workers))
        case "first":
            return [0]
        case "peer":
            return [max(rank, 0) % num_workers]
        case _:
            raise InvalidArgument(f"execute={execute!r}: expected 'all', 'first' or 'peer'")


def data_shards(num_workers: int, mesh: DeviceMesh | None) -> list[int]:
    """The shard of the data that each worker gets, in the order of their data ranks; without a mesh each worker has its own.

    Raises:
        InvalidConfig: the mesh cannot be shared out to the workers, or splits the data ranks of one worker over several.
    """
    if mesh is None:
        return list(range(num_workers))
    ranks = mesh.ranks
    if len(ranks) % num_workers:
        raise InvalidConfig(f"a mesh of {mesh} ranks cannot be shared out to {num_workers} workers")
    stride = len(ranks) // num_workers
    owned = [tuple(sorted({mesh.data_rank_of(r) for r in ranks[i * stride : (i + 1) * stride]})) for i in range(num_workers)]
    distinct = sorted(set(owned))
    if sum(len(data_ranks) for data_ranks in distinct) != mesh.data_world_size:
        raise InvalidConfig(f"in a mesh of {mesh} ranks, {num_workers} workers of {stride} devices would share single data ranks: {owned}")
    return [distinct.index(data_ranks) for data_ranks in owned]


def dispatch(
    rule: Dispatch, num_workers: int, args: tuple[Any, ...], kwargs: Mapping[str, Any], mesh: DeviceMesh | None = None
) -> list[Call]:
    """The arguments for each worker, in their order.

    - ``"all"``: the same for each.
    - ``"slice"``: each list in as even parts as its length allows, the rest for each.
    - ``"slice_dp"``: lists, arrays, tensors and (recursively) the values of dicts in one part a data shard, the rest for each.
    - ``f(num_workers, i, args, kwargs, device_mesh=mesh)`` returns those of worker ``i``.

    Raises:
        InvalidData: "slice_dp", and something has fewer rows than there are shards.
    """
    if callable(rule):
        return [rule(num_workers, i, args, dict(kwargs), device_mesh=mesh) for i in range(num_workers)]
    match rule:
        case "all":
            return [(args, dict(kwargs)) for _ in range(num_workers)]
        case "slice":
            return [_map_call(args, kwargs, partial(_slice_list, num_workers, i)) for i in range(num_workers)]
        case "slice_dp":
            shards = data_shards(num_workers, mesh)
            num_shards = max(shards) + 1
            calls = [_map_call(args, kwargs, partial(_slice_rows, num_shards, shard)) for shard in range(num_shards)]
            return [calls[shard] for shard in shards]
        case _:
            raise InvalidArgument(f"dispatch={rule!r}: no such rule.{did_you_mean(str(rule), DISPATCH_RULES)}")


def collect(rule: Collect, results: Sequence[Any], mesh: DeviceMesh | None = None, dispatched: Dispatch = "all") -> Any:
    """One result from those of all workers, in their order. Tuples are collected element by element.

    - ``"none"``: the list of them; of one worker its result itself.
    - ``"flatten"``: one flat list.
    - ``"mean"``, ``"sum"``: over numbers, arrays and tensors; dicts by key. What is no number stays a list, of one worker itself.
    - ``"first"``: the first worker's. ``"last_pp"``: like "none", of the last pipeline stage. ``"last_pp_first"``: the first of these.
    - ``f(results, device_mesh=mesh)``.

    Where the call was dispatched with "slice_dp", workers of one data shard did the same work: "flatten", "mean" and "sum" count it once.
    """
    if results and all(type(result) is tuple and len(result) == len(results[0]) for result in results):
        return tuple(collect(rule, column, mesh, dispatched) for column in zip(*results, strict=True))
    if callable(rule):
        return rule(list(results), device_mesh=mesh)
    match rule:
        case "none":
            return _unwrap(results)
        case "first":
            return results[0]
        case "last_pp":
            return _unwrap([results[i] for i in _last_stage(len(results), mesh)])
        case "last_pp_first":
            return results[_last_stage(len(results), mesh)[0]]
        case "flatten":
            return _flatten(_once_a_shard(results, mesh, dispatched))
        case "mean" | "sum":
            return _reduce(_once_a_shard(results, mesh, dispatched), rule == "mean")
        case _:
            raise InvalidArgument(f"collect={rule!r}: no such rule.{did_you_mean(str(rule), COLLECT_RULES)}")


# ---- sharing out


def _map_call(args: tuple[Any, ...], kwargs: Mapping[str, Any], change: Callable[[str, Any], Any]) -> Call:
    changed = tuple(change(f"argument {i}", value) for i, value in enumerate(args))
    return changed, {name: change(name, value) for name, value in kwargs.items()}


def _slice_list(num_parts: int, part: int, name: str, value: Any) -> Any:
    return value[balanced_slice(len(value), num_parts, part)] if isinstance(value, list) else value


def _slice_rows(num_shards: int, shard: int, name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _slice_rows(num_shards, shard, f"{name}[{key!r}]", item) for key, item in value.items()}
    if not isinstance(value, list) and not (_is_array(value) and value.ndim > 0):
        return value
    if len(value) < num_shards:
        raise InvalidData(f"batch too small: {name} has {len(value)} rows for {num_shards} data ranks, and each needs one or more")
    return value[balanced_slice(len(value), num_shards, shard)]


# ---- putting together


def _once_a_shard(results: Sequence[Any], mesh: DeviceMesh | None, dispatched: Dispatch) -> Sequence[Any]:
    """Of the workers of one shard the result of one on the last pipeline stage, where losses and logits are."""
    if dispatched != "slice_dp" or mesh is None:
        return results
    shards = data_shards(len(results), mesh)
    owner: dict[int, int] = {}
    for i in _last_stage(len(results), mesh):
        owner.setdefault(shards[i], i)
    return [results[owner[shard]] for shard in sorted(owner)]


def _last_stage(num_workers: int, mesh: DeviceMesh | None) -> list[int]:
    """The workers that drive a rank of the last pipeline stage."""
    if mesh is None:
        return list(range(num_workers))
    ranks = mesh.ranks
    stride = len(ranks) // num_workers
    last = set(mesh.get_pp_last_ranks())
    return [i for i in range(num_workers) if last.intersection(ranks[i * stride : (i + 1) * stride])]


def _unwrap(results: Sequence[Any]) -> Any:
    return results[0] if len(results) == 1 else list(results)


def _flatten(results: Iterable[Any]) -> list[Any]:
    flat: list[Any] = []
    for result in results:
        flat.extend(_flatten(result) if isinstance(result, list | tuple) else [result])
    return flat


def _reduce(results: Sequence[Any], mean: bool) -> Any:
    if all(isinstance(result, dict) for result in results):
        keys = dict.fromkeys(key for result in results for key in result)
        return {key: _reduce([result[key] for result in results if key in result], mean) for key in keys}
    if not all(_is_number(result) for result in results):
        return _unwrap(results)
    total = results[0]
    for result in results[1:]:
        total = total + result
    return total / len(results) if mean else total


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and (isinstance(value, numbers.Number) or _is_array(value))


def _is_array(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return True
    torch = sys.modules.get("torch")  # a tensor cannot be here unless somebody imported torch
    return torch is not None and isinstance(value, torch.Tensor)
