"""How processes are laid out: a mesh gives each rank a coordinate along named dims, a group says which devices belong together.

``dp`` data, ``fsdp`` sharded data, ``tp`` tensor, ``pp`` pipeline, ``cp`` context, ``ep`` expert parallelism, ``ep_fsdp`` expert shards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinkle.core.balanced_slice import balanced_slice
from twinkle.core.device import Device, choose_device, device_named
from twinkle.core.errors import InvalidConfig
from twinkle.core.rank_spans import rank_spans
from twinkle.core.settings import Settings, process_rank
from twinkle.core.suggestion import did_you_mean

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh as TorchDeviceMesh

DIM_NAMES = ("fsdp", "pp", "dp", "cp", "tp", "ep", "ep_fsdp")


@dataclass(frozen=True, eq=False, repr=False)
class DeviceMesh:
    """Global ranks in an array with named dims. A value: it never changes, equal layouts are equal, and it pickles."""

    mesh: NDArray[np.int64]
    """Each global rank once. Anything that numpy makes an integer array of is accepted."""
    mesh_dim_names: tuple[str, ...]
    """One of :data:`DIM_NAMES` for each axis of ``mesh``."""
    ep_size: int | None = None
    """Ranks that share the experts of one layer."""
    etp_size: int | None = None
    """Tensor-parallel size inside an expert."""
    ep_fsdp_size: int | None = None
    """Ranks over which each expert is sharded."""
    vpp_size: int | None = None
    """Virtual pipeline stages a rank (Megatron)."""
    ulysses_size: int | None = None
    """Neighbouring data ranks that share one batch and split its sequences by attention heads."""
    sequence_parallel: bool = False
    """Split activations over ``tp`` outside of its matrix products (Megatron)."""
    device_type: str | None = None
    """A device of :mod:`twinkle.core.device` by name; None is the one that the process uses."""
    _torch_objects: dict[object, Any] = field(default_factory=dict, init=False)
    """Process groups by dims, which are costly and collective to make. They stay in this process."""

    def __post_init__(self) -> None:
        given = np.asarray(self.mesh)
        if given.dtype.kind not in "iu":
            raise InvalidConfig(f"a mesh is an array of whole numbers, got {given.tolist()}")
        mesh = given.astype(np.int64)
        mesh.flags.writeable = False
        object.__setattr__(self, "mesh", mesh)
        object.__setattr__(self, "mesh_dim_names", tuple(self.mesh_dim_names))
        for name in self.mesh_dim_names:
            if name not in DIM_NAMES:
                raise InvalidConfig(f"a mesh has no dim {name!r}.{did_you_mean(name, DIM_NAMES)}")
        if len(set(self.mesh_dim_names)) != len(self.mesh_dim_names):
            raise InvalidConfig(f"the mesh dims {self.mesh_dim_names} name one dim twice")
        if mesh.ndim != len(self.mesh_dim_names) or mesh.ndim == 0:
            raise InvalidConfig(f"a mesh has a name for each axis, and one axis or more; got shape {mesh.shape} and {self.mesh_dim_names}")
        if mesh.size == 0 or mesh.min() < 0 or len(np.unique(mesh)) != mesh.size:
            raise InvalidConfig(f"a mesh holds each global rank once, from 0 on; got {mesh.tolist()}")
        if self.device_type is not None:
            object.__setattr__(self, "device_type", device_named(self.device_type).type)
        for name in ("ep_size", "etp_size", "ep_fsdp_size", "vpp_size", "ulysses_size"):
            _check_size(name, self.__dict__[name])
        if self._num_data_ranks % (self.ulysses_size or 1):
            raise InvalidConfig(f"ulysses_size {self.ulysses_size} does not divide the {self._num_data_ranks} data ranks of {self}")
        if self.world_size % (self.ep_size or 1):
            raise InvalidConfig(f"ep_size {self.ep_size} does not divide the {self.world_size} ranks of {self}")

    @staticmethod
    def from_sizes(
        *,
        world_size: int = 1,
        dp_size: int | None = 1,
        fsdp_size: int | None = None,
        tp_size: int | None = None,
        pp_size: int | None = None,
        ulysses_size: int | None = None,
        cp_size: int | None = None,
        ep_size: int | None = None,
        etp_size: int | None = 1,
        ep_fsdp_size: int | None = None,
        vpp_size: int | None = None,
        device_type: str | None = None,
        sequence_parallel: bool = False,
    ) -> DeviceMesh:
        """Ranks 0 to n - 1 in the dims that are given, in the order fsdp, pp, dp, cp, tp: the last varies fastest.

        ``world_size`` left at 1 is the product of the sizes.

        Raises:
            InvalidConfig: a size below 1, or sizes whose product is not ``world_size``.
        """
        given = {"fsdp": fsdp_size, "pp": pp_size, "dp": dp_size, "cp": cp_size, "tp": tp_size}
        for dim, size in given.items():
            _check_size(f"{dim}_size", size)
        _check_size("world_size", world_size)
        sizes = {dim: size for dim, size in given.items() if size is not None}
        num_ranks = math.prod(sizes.values())
        if world_size not in (1, num_ranks):
            raise InvalidConfig(f"{_product(sizes)} ranks, but world_size is {world_size}: change a size, or leave world_size out")
        return DeviceMesh(
            mesh=np.arange(num_ranks).reshape(tuple(sizes.values())),
            mesh_dim_names=tuple(sizes),
            ep_size=ep_size,
            etp_size=etp_size,
            ep_fsdp_size=ep_fsdp_size,
            vpp_size=vpp_size,
            ulysses_size=ulysses_size,
            sequence_parallel=sequence_parallel,
            device_type=device_type,
        )

    # ---- what it is

    @property
    def sizes(self) -> dict[str, int]:
        """The size along each dim."""
        return dict(zip(self.mesh_dim_names, self.mesh.shape, strict=True))

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return self.mesh.size

    @property
    def ranks(self) -> list[int]:
        """The global ranks in order."""
        return sorted(self.mesh.ravel().tolist())

    @property
    def order(self) -> str:
        """The order in which Megatron lays out its ranks."""
        return "tp-cp-ep-dp-pp"

    def single(self) -> DeviceMesh:
        """The same dims, each of size 1: the layout of a process that works alone."""
        alone = np.zeros((1,) * self.mesh.ndim, dtype=np.int64)
        return replace(self, mesh=alone, ep_size=None, etp_size=None, ep_fsdp_size=None, vpp_size=None, ulysses_size=None)

    def __str__(self) -> str:
        """The sum: ``fsdp 4 x dp 2 = 8``."""
        return _product(self.sizes)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items() if value is not None and value is not False)
        return f"DeviceMesh({self}{', ' + options if options else ''})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeviceMesh):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles as its arguments: process groups stay where they are."""
        return DeviceMesh, (self.mesh, self.mesh_dim_names, *self._options().values())

    def _options(self) -> dict[str, Any]:
        return {f.name: self.__dict__[f.name] for f in fields(self) if f.init and f.name not in ("mesh", "mesh_dim_names")}

    def _identity(self) -> tuple[object, ...]:
        return (self.mesh.shape, tuple(self.mesh.ravel().tolist()), self.mesh_dim_names, *self._options().values())

    # ---- coordinates

    @property
    def dp_rank(self) -> int | None:
        """The coordinate of this process along ``dp``; None where the mesh has no dp, or this process no rank in it."""
        return self._own_coordinate().get("dp")

    @property
    def dp_world_size(self) -> int:
        """The size along ``dp``; 0 where the mesh has none."""
        return self.sizes.get("dp", 0)

    @property
    def fsdp_rank(self) -> int | None:
        """The coordinate of this process along ``fsdp``; None where the mesh has no fsdp, or this process no rank in it."""
        return self._own_coordinate().get("fsdp")

    @property
    def fsdp_world_size(self) -> int:
        """The size along ``fsdp``; 0 where the mesh has none."""
        return self.sizes.get("fsdp", 0)

    @property
    def tp_rank(self) -> int | None:
        """The coordinate of this process along ``tp``; None where the mesh has no tp, or this process no rank in it."""
        return self._own_coordinate().get("tp")

    @property
    def tp_world_size(self) -> int:
        """The size along ``tp``; 0 where the mesh has none."""
        return self.sizes.get("tp", 0)

    @property
    def pp_rank(self) -> int | None:
        """The coordinate of this process along ``pp``; None where the mesh has no pp, or this process no rank in it."""
        return self._own_coordinate().get("pp")

    @property
    def pp_world_size(self) -> int:
        """The size along ``pp``; 0 where the mesh has none."""
        return self.sizes.get("pp", 0)

    @property
    def cp_rank(self) -> int | None:
        """The coordinate of this process along ``cp``; None where the mesh has no cp, or this process no rank in it."""
        return self._own_coordinate().get("cp")

    @property
    def cp_world_size(self) -> int:
        """The size along ``cp``; 0 where the mesh has none."""
        return self.sizes.get("cp", 0)

    @property
    def ep_rank(self) -> int | None:
        """The coordinate of this process along ``ep``; None where the mesh has no ep, or this process no rank in it."""
        return self._own_coordinate().get("ep")

    @property
    def ep_world_size(self) -> int:
        """The size along ``ep``; 0 where the mesh has none."""
        return self.sizes.get("ep", 0)

    def _own_coordinate(self) -> dict[str, int]:
        return self.coordinate(process_rank()) or {}

    def coordinate(self, rank: int) -> dict[str, int] | None:
        """Where global ``rank`` stands along each dim; None where it is not part of the mesh."""
        places = np.argwhere(self.mesh == rank)
        return dict(zip(self.mesh_dim_names, places[0].tolist(), strict=True)) if len(places) else None

    def peers(self, rank: int, dims: str | Sequence[str]) -> list[int]:
        """The global ranks that differ from ``rank`` along ``dims`` at most, in order.

        Raises:
            InvalidConfig: ``rank`` is not part of the mesh, or the mesh has no such dim.
        """
        varying = self._known_dims(dims)
        coordinate = self._coordinate_of_member(rank)
        index = tuple(slice(None) if dim in varying else coordinate[dim] for dim in self.mesh_dim_names)
        return sorted(np.ravel(self.mesh[index]).tolist())

    def _coordinate_of_member(self, rank: int) -> dict[str, int]:
        coordinate = self.coordinate(rank)
        if coordinate is None:
            came = "this process has no rank (RANK is not set: start it with torchrun)" if rank < 0 else f"rank {rank} is not one of them"
            raise InvalidConfig(f"the mesh {self} holds the ranks {rank_spans(self.ranks)}, and {came}")
        return coordinate

    def _known_dims(self, dims: str | Sequence[str]) -> tuple[str, ...]:
        names = (dims,) if isinstance(dims, str) else tuple(dims)
        for name in names:
            if name not in self.mesh_dim_names:
                raise InvalidConfig(f"the mesh {self} has no dim {name!r}.{did_you_mean(name, self.mesh_dim_names)}")
        return names

    # ---- data

    @property
    def _num_data_ranks(self) -> int:
        return self.sizes.get("dp", 1) * self.sizes.get("fsdp", 1)

    @property
    def data_world_size(self) -> int:
        """Into how many parts a batch is split: ``dp * fsdp / ulysses``."""
        return self._num_data_ranks // (self.ulysses_size or 1)

    @property
    def data_rank(self) -> int:
        """Which part of a batch is this process's. The only part is everyone's, with a rank or without.

        Raises:
            InvalidConfig: there are several, and this process is not part of the mesh.
        """
        return 0 if self.data_world_size == 1 else self.data_rank_of(process_rank())

    def data_rank_of(self, rank: int) -> int:
        """``(dp_rank * fsdp_world_size + fsdp_rank) // ulysses_size`` of global ``rank``: tp, pp, cp and ulysses peers share one.

        Raises:
            InvalidConfig: ``rank`` is not part of the mesh.
        """
        coordinate = self._coordinate_of_member(rank)
        position = coordinate.get("dp", 0) * self.sizes.get("fsdp", 1) + coordinate.get("fsdp", 0)
        return position // (self.ulysses_size or 1)

    def get_slice(self, total_len: int, rank: int | None = None) -> slice:
        """The contiguous part of ``range(total_len)`` of data rank ``rank`` (this process's without); the first parts are one longer."""
        return balanced_slice(total_len, self.data_world_size, self.data_rank if rank is None else rank)

    def get_collect_ranks(self) -> list[int]:
        """One global rank for each data rank, in their order: of those that share it the last of pp, then the first of tp, cp, the rest."""
        last = set(self.get_pp_last_ranks())
        chosen: dict[int, int] = {}
        for rank in sorted(last, key=lambda r: tuple(self._coordinate_of_member(r).get(dim, 0) for dim in ("tp", "cp", *DIM_NAMES))):
            chosen.setdefault(self.data_rank_of(rank), rank)
        return [chosen[data_rank] for data_rank in sorted(chosen)]

    # ---- pipeline and tensor parallelism

    def get_pp_stage_ranks(self, stage: int) -> list[int]:
        """The global ranks of pipeline stage ``stage``; without pp there is stage 0 alone, and it is everyone.

        Raises:
            InvalidConfig: there is no such stage.
        """
        num_stages = self.sizes.get("pp", 1)
        if not 0 <= stage < num_stages:
            raise InvalidConfig(f"the mesh {self} has the pipeline stages 0 to {num_stages - 1}, not {stage}")
        return [rank for rank in self.ranks if self._coordinate_of_member(rank).get("pp", 0) == stage]

    def get_pp_first_ranks(self) -> list[int]:
        """The global ranks of the first pipeline stage."""
        return self.get_pp_stage_ranks(0)

    def get_pp_last_ranks(self) -> list[int]:
        """The global ranks of the last pipeline stage."""
        return self.get_pp_stage_ranks(self.sizes.get("pp", 1) - 1)

    def is_pp_first_rank(self) -> bool:
        """Whether this process is on the first pipeline stage; True without pp."""
        return self._is_at("pp", 0)

    def is_pp_last_rank(self) -> bool:
        """Whether this process is on the last pipeline stage; True without pp."""
        return self._is_at("pp", self.sizes.get("pp", 1) - 1)

    def is_tp_last_rank(self, rank: int | None = None) -> bool:
        """Whether global ``rank`` (this process without) is the last of its tensor-parallel group; True without tp."""
        return self._is_at("tp", self.sizes.get("tp", 1) - 1, rank)

    def get_tp_ranks(self) -> list[int]:
        """The tensor-parallel group of this process; itself alone without tp."""
        rank = process_rank()
        return self.peers(rank, "tp") if "tp" in self.mesh_dim_names else [rank]

    def _is_at(self, dim: str, position: int, rank: int | None = None) -> bool:
        if self.sizes.get(dim, 1) == 1:
            return True
        return self._coordinate_of_member(process_rank() if rank is None else rank)[dim] == position

    # ---- torch

    def create_process_group(self, dims: str | Sequence[str]) -> ProcessGroup:
        """A new torch.distributed group of this process's peers along ``dims``. Collective: every rank of the world calls it, in one order.

        Raises:
            InvalidConfig: torch.distributed does not run, this process is not part of the mesh, or the mesh has no such dim.
        """
        import torch.distributed as dist

        names = self._known_dims(dims)
        if not dist.is_initialized():
            raise InvalidConfig(f"a process group along {', '.join(names)} needs torch.distributed: call init_process_group() before")
        groups = {tuple(self.peers(rank, names)): None for rank in self.ranks}
        made = {ranks: dist.new_group(list(ranks)) for ranks in groups}
        # Looked up only now: a rank outside of the mesh has to take part in making the groups, or the others would wait for it.
        group: ProcessGroup = made[tuple(self.peers(dist.get_rank(), names))]
        return group

    def get_dim_group(self, dims: str | Sequence[str]) -> ProcessGroup:
        """:meth:`create_process_group`, made at the first call and kept as long as torch.distributed runs."""
        import torch.distributed as dist

        key = (dist.group.WORLD, self._known_dims(dims))
        if key not in self._torch_objects:
            self._torch_objects[key] = self.create_process_group(dims)
        group: ProcessGroup = self._torch_objects[key]
        return group

    def to_torch_device_mesh(self) -> TorchDeviceMesh:
        """The same layout as torch knows it. Collective at the first call, then kept as long as torch.distributed runs."""
        import torch.distributed as dist
        from torch.distributed.device_mesh import DeviceMesh as TorchDeviceMesh

        key = (dist.group.WORLD, "mesh")
        if key not in self._torch_objects:
            device_type = self.device_type or choose_device(Settings.load()).type
            self._torch_objects[key] = TorchDeviceMesh(device_type, self.mesh.copy(), mesh_dim_names=self.mesh_dim_names)
        mesh: TorchDeviceMesh = self._torch_objects[key]
        return mesh


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Devices of one type under one name; components are placed by it (``remote_group=name``)."""

    name: str
    ranks: int | Sequence[int]
    """Which devices, counted over all machines; a number n means the next n that no group before has."""
    device_type: str
    """"GPU" (or "CUDA"), "NPU", "MPS", "CPU", in any case."""
    visible_devices: str | None = None
    """The devices a worker sees, as the device's own environment variable writes them ("8,9"); None is those of its ranks."""
    gpus_per_worker: int = 1
    """Devices that one worker drives: a sampler with tensor parallelism of its own takes several."""

    def __post_init__(self) -> None:
        ranks = int(self.ranks) if isinstance(self.ranks, int | np.integer) else tuple(self.ranks)
        object.__setattr__(self, "ranks", ranks)
        device_named(self.device_type)
        if self.num_devices < 1:
            raise InvalidConfig(f"group {self.name!r} has no device: ranks={self.ranks!r}")
        if not isinstance(ranks, int) and (min(ranks) < 0 or len(set(ranks)) != len(ranks)):
            raise InvalidConfig(f"group {self.name!r}: expected each rank once and from 0 on, got {list(ranks)}")
        if self.gpus_per_worker < 1 or self.num_devices % self.gpus_per_worker:
            raise InvalidConfig(f"group {self.name!r}: {self.num_devices} devices cannot be shared out, {self.gpus_per_worker} to a worker")

    @property
    def device(self) -> Device:
        """What its devices are."""
        return device_named(self.device_type)

    @property
    def num_devices(self) -> int:
        """How many it has."""
        return self.ranks if isinstance(self.ranks, int) else len(self.ranks)

    @property
    def num_workers(self) -> int:
        """How many processes drive them."""
        return self.num_devices // self.gpus_per_worker


def assign_ranks(groups: Iterable[DeviceGroup]) -> tuple[DeviceGroup, ...]:
    """The groups with their ranks as lists: a number takes the lowest devices of its type that no other group has.

    Raises:
        InvalidConfig: two groups have one name, or claim the same device.
    """
    wanted = tuple(groups)
    taken: dict[tuple[str, int], str] = {}
    names: set[str] = set()
    for group in wanted:
        if group.name in names:
            raise InvalidConfig(f"two groups are named {group.name!r}")
        names.add(group.name)
        for rank in () if isinstance(group.ranks, int) else group.ranks:
            owner = taken.setdefault((group.device.type, rank), group.name)
            if owner != group.name:
                raise InvalidConfig(f"{group.device.name} {rank} is claimed by groups {owner!r} and {group.name!r}: a device has one")
    return tuple(replace(group, ranks=_take_ranks(group, taken)) for group in wanted)


def _take_ranks(group: DeviceGroup, taken: dict[tuple[str, int], str]) -> Sequence[int]:
    if not isinstance(group.ranks, int):
        return group.ranks
    free = (rank for rank in itertools.count() if (group.device.type, rank) not in taken)
    ranks = tuple(itertools.islice(free, group.ranks))
    taken.update(((group.device.type, rank), group.name) for rank in ranks)
    return ranks


def _check_size(name: str, size: int | None) -> None:
    if size is not None and size < 1:
        raise InvalidConfig(f"{name}={size}: expected a whole number from 1 on")


def _product(sizes: Mapping[str, int]) -> str:
    return " x ".join(f"{dim} {size}" for dim, size in sizes.items()) + f" = {math.prod(sizes.values())}"
