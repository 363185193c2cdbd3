"""Placement descriptions, and the local executor that carries them out."""

from __future__ import annotations

import inspect
import logging
import pickle
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Optional, Protocol

import pytest

from twinkle.core.components import build
from twinkle.core.errors import InvalidArgument, InvalidConfig
from twinkle.core.hookspecs import hookimpl
from twinkle.core.mesh import DeviceGroup, DeviceMesh
from twinkle.core.runtime.context import ProcessContext, use_context
from twinkle.core.runtime.initialize import initialize
from twinkle.core.runtime.placement import Layout, Placement, RemoteClass, RemoteMethod
from twinkle.core.runtime.remote import PlacedType, remote_class, remote_function, remote_methods
from twinkle.core.settings import Settings
from twinkle.plugins_builtin.executor._local import LocalExecutor

if TYPE_CHECKING:
    from twinkle.core.contracts.executor import Executor


@remote_class(execute="first")
class Trainer:
    """Trains."""

    def __init__(self, model_id: str, mesh: DeviceMesh | None = None, *, rank: int = 8) -> None:
        self.model_id, self.mesh, self.rank = model_id, mesh, rank

    @remote_function(dispatch="slice_dp", collect="mean", sync=True, timeout=3.0)
    def loss(self, inputs: list[float]) -> float:
        """A docstring."""
        return sum(inputs)

    def plain(self) -> None: ...


class SmallTrainer(Trainer):
    """Inherits its placement."""

    def loss(self, inputs: list[float]) -> float:
        return 2 * super().loss(inputs)

    @remote_function(dispatch="all", collect="first")
    def save(self) -> str:
        return "saved"


@remote_class()
class Anything:
    """Hands on keyword arguments it does not know."""

    def __init__(self, prefix: str = "", **options: Any) -> None:
        self.options = options


@remote_class()
class Meshless:
    """Takes no argument."""


def world(rank: int, world_size: int) -> ProcessContext:
    """The context of a rank that a launcher started."""
    return ProcessContext.fresh(Settings(rank=rank, world_size=world_size, device="cpu"))


# ---- descriptions


def test_remote_function_leaves_the_method_as_it_was() -> None:
    def method(self: object, inputs: list[int]) -> list[int]:
        return inputs

    described = remote_function(dispatch="all")(method)
    assert described is method
    assert described(None, [1]) == [1]


def test_methods_are_described_and_overriding_ones_inherit_it() -> None:
    loss = RemoteMethod(dispatch="slice_dp", execute="all", collect="mean", sync=True, lazy_collect=None, timeout=3.0)
    assert remote_methods(Trainer) == {"loss": loss}
    assert remote_methods(SmallTrainer) == {"loss": loss, "save": RemoteMethod(dispatch="all", collect="first")}


def test_the_defaults_of_a_described_method() -> None:
    class Plain:
        @remote_function()
        def method(self) -> None: ...

    assert remote_methods(Plain)["method"] == RemoteMethod(
        dispatch="slice", execute="all", collect="none", sync=False, lazy_collect=None, timeout=None
    )


@pytest.mark.parametrize(
    ("decorate", "message"),
    [
        (lambda: remote_class("frist"), r"remote_class\(execute='frist'\): no such rule. Did you mean 'first'"),
        (lambda: remote_class(Trainer), r"remote_class\(execute=<class"),
        (lambda: remote_function("slice_db"), r"dispatch='slice_db'\): no such rule. Did you mean 'slice"),
        (lambda: remote_function(collect="average"), "collect='average'"),
        (lambda: remote_function(execute="one"), "execute='one'"),
    ],
)
def test_a_rule_that_does_not_exist_is_an_error_where_it_is_written(decorate: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        decorate()


def test_functions_are_rules_too() -> None:
    def share_out(num_workers: int, i: int, args: Any, kwargs: Any, device_mesh: Any) -> Any:
        return args, kwargs

    class Plain:
        @remote_function(dispatch=share_out, collect=max)
        def method(self) -> None: ...

    assert remote_methods(Plain)["method"].dispatch is share_out


def test_a_described_class_is_still_its_own_class() -> None:
    trainer = Trainer("m")
    assert type(trainer) is Trainer and isinstance(trainer, Trainer) and not isinstance("m", Trainer)
    assert (Trainer.__name__, Trainer.__qualname__, Trainer.__module__, Trainer.__doc__) == ("Trainer", "Trainer", __name__, "Trains.")
    assert isinstance(SmallTrainer("m"), Trainer) and not isinstance(trainer, SmallTrainer)
    restored = pickle.loads(pickle.dumps(trainer))
    assert type(restored) is Trainer and restored.model_id == "m"


def test_decorating_a_subclass_changes_its_description_alone() -> None:
    @remote_class(execute="peer")
    class Other(Trainer):
        pass

    assert isinstance(Other, PlacedType)
    assert (Other.__twinkle_remote__, Trainer.__twinkle_remote__) == (RemoteClass(execute="peer"), RemoteClass(execute="first"))


def test_abstract_classes_and_contracts_can_be_described() -> None:
    class Contract(Protocol):
        @abstractmethod
        def run(self) -> int: ...

    @remote_class()
    class Fulfils(Contract):
        def run(self) -> int:
            return 1

    @remote_class()
    class Unfinished(ABC):
        @abstractmethod
        def run(self) -> int: ...

    class Finished(Unfinished):
        def run(self) -> int:
            return 2

    assert (Fulfils().run(), Finished().run()) == (1, 2)
    with pytest.raises(TypeError, match="abstract"):
        Unfinished()


def test_super_and_slots_survive() -> None:
    @remote_class()
    class Slotted:
        __slots__ = ("x",)

        def __init__(self, x: int) -> None:
            super().__init__()
            self.x = x

    with pytest.raises(AttributeError):
        Slotted(1).y = 2


# ---- construction


def test_placement_arguments_are_taken_beside_the_own_ones() -> None:
    trainer = Trainer("m", rank=4, remote_group="model", instance_id="one", device_mesh=None)
    assert (trainer.model_id, trainer.rank) == ("m", 4)
    Meshless(remote_group="model", instance_id="two", device_mesh=DeviceMesh.from_sizes())
    assert Anything(remote_group="model", revision="v1").options == {"revision": "v1"}


def test_the_signature_shows_them() -> None:
    names = list(inspect.signature(Trainer).parameters)
    assert names == ["model_id", "mesh", "rank", "remote_group", "instance_id", "device_mesh"]
    assert list(inspect.signature(Anything).parameters) == ["prefix", "remote_group", "instance_id", "device_mesh", "options"]
    assert list(inspect.signature(SmallTrainer).parameters) == names


def test_components_built_by_name_take_them(context: ProcessContext) -> None:
    class Plugin:
        @hookimpl
        def twinkle_executors(self) -> dict[str, type]:
            return {"placed": PlacedExecutor}

    context.registry.register(Plugin(), "placed")
    assert build("executor", "placed", x=3, remote_group="model").x == 3
    with pytest.raises(InvalidArgument, match=r"does not take the argument 'remote_grop'\. Did you mean 'remote_group'"):
        build("executor", "placed", x=3, remote_grop="model")


@remote_class()
class PlacedExecutor(LocalExecutor):
    """Any component of a kind, described."""

    def __init__(self, x: int) -> None:
        super().__init__()
        self.x = x


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: Trainer("m", rnk=4), "Trainer does not take the argument 'rnk'. Did you mean 'rank'"),
        (lambda: Trainer("m", remote_grup="a"), "Did you mean 'remote_group'"),
        (lambda: Trainer(), "Trainer needs the argument 'model_id'"),
        (lambda: Trainer("m", None, 3), "Trainer: too many positional arguments"),
        (lambda: Trainer("m", model_id="n"), "Trainer: multiple values for argument 'model_id'"),
        (lambda: Meshless(3), "Meshless: too many positional arguments"),
        (lambda: Trainer("m", remote_group=DeviceGroup("g", 1, "CPU")), r"Trainer\(remote_group=...\) is a name, got DeviceGroup"),
        (lambda: Trainer("m", instance_id=3), "instance_id"),
        (lambda: Trainer("m", device_mesh=[0, 1]), r"Trainer\(mesh=...\) is a DeviceMesh, got \[0, 1\]"),
        (lambda: Meshless(device_mesh=4), r"Meshless\(device_mesh=...\) is a DeviceMesh, got 4"),
        (lambda: Trainer("m", "mesh"), "is a DeviceMesh, got 'mesh'"),
    ],
)
def test_wrong_arguments_are_errors(construct: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        construct()


def test_an_error_of_the_constructor_stays_itself() -> None:
    @remote_class()
    class Failing:
        def __init__(self) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Failing()


# ---- the mesh


def test_the_mesh_of_the_run_fills_the_parameter_that_is_annotated_with_it() -> None:
    mesh = DeviceMesh.from_sizes(fsdp_size=2, dp_size=2)
    with use_context(world(rank=1, world_size=4)):
        initialize(global_device_mesh=mesh)
        assert Trainer("m").mesh is mesh
        assert Trainer("m", None).mesh is mesh


def test_annotations_of_every_spelling_are_seen() -> None:
    class Spelled:
        def __init__(self, first: Optional[DeviceMesh] = None) -> None:  # noqa: UP045  # the older spelling is meant
            self.first = first

    Spelled.__init__.__annotations__["first"] = Optional[DeviceMesh]  # noqa: UP045  # as without `from __future__ import annotations`
    assert remote_class()(Spelled)().first == DeviceMesh.from_sizes()

    class Similar:
        def __init__(self, first: NotADeviceMeshAtAll | None = None, second=None) -> None:  # type: ignore[no-untyped-def, name-defined]  # noqa: F821
            self.first, self.second = first, second

    similar = remote_class()(Similar)()
    assert similar.first is None and similar.second is None


def test_without_initialize_the_ranks_of_the_launcher_are_dp() -> None:
    with use_context(world(rank=2, world_size=4)):
        assert Trainer("m").mesh == DeviceMesh.from_sizes(dp_size=4)
    assert Trainer("m").mesh == DeviceMesh.from_sizes(dp_size=1)


def test_a_mesh_of_its_own_comes_first() -> None:
    own = DeviceMesh.from_sizes(tp_size=4)
    with use_context(world(rank=0, world_size=4)):
        initialize(global_device_mesh=DeviceMesh.from_sizes(dp_size=4))
        for trainer in (Trainer("m", own), Trainer("m", mesh=own), Trainer("m", device_mesh=own), Trainer(mesh=own, model_id="m")):
            assert trainer.mesh is own and trainer.model_id == "m" and trainer.rank == 8


def test_a_mesh_that_does_not_fit_the_launchers_world_is_an_error_that_shows_the_sum() -> None:
    with (
        use_context(world(rank=0, world_size=4)),
        pytest.raises(InvalidConfig, match="Trainer: the mesh has fsdp 4 x dp 2 = 8 ranks, but this run has 4 processes"),
    ):
        Trainer("m", DeviceMesh.from_sizes(fsdp_size=4, dp_size=2))


def test_without_a_launcher_a_large_mesh_shrinks_to_one_rank_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    mesh = DeviceMesh.from_sizes(fsdp_size=4, dp_size=2)
    with caplog.at_level(logging.WARNING, logger="twinkle"):
        first, second = Trainer("m", mesh), SmallTrainer("m", device_mesh=mesh)
        Trainer("m")
    assert first.mesh == second.mesh == mesh.single()
    (record,) = caplog.records
    assert record.getMessage() == (
        "Trainer and others of its mesh run on one rank: the mesh has fsdp 4 x dp 2 = 8 ranks, but this run has 1 process (WORLD_SIZE). "
        "Start 8 processes with torchrun for the whole mesh."
    )


# ---- groups


def test_a_group_that_initialize_did_not_make_is_an_error_with_a_suggestion() -> None:
    initialize(groups=[DeviceGroup("model", 4, "GPU"), DeviceGroup("sampler", 4, "GPU")])
    Trainer("m", remote_group="sampler")
    with pytest.raises(InvalidArgument, match=r"remote_group='modle': there is no such group\. Did you mean 'model'"):
        Trainer("m", remote_group="modle")


def test_without_initialize_a_group_is_a_label() -> None:
    assert Trainer("m", remote_group="anything").model_id == "m"


# ---- other executors


class Recorder:
    """An executor that builds nothing: what a remote one is told."""

    def __init__(self) -> None:
        self.placements: list[Placement] = []

    def start(self, layout: Layout) -> Layout:
        return layout

    def construct(self, placement: Placement, layout: Layout) -> Any:
        self.placements.append(placement)
        return "stand-in"


def test_another_executor_gets_the_description_and_changes_no_component(context: ProcessContext) -> None:
    recorder = Recorder()
    executor: Executor = recorder
    context.executor = executor
    mesh = DeviceMesh.from_sizes(dp_size=8)
    assert Trainer("m", mesh, rank=2, remote_group="model", instance_id="a") == "stand-in"
    (placement,) = recorder.placements
    assert (placement.cls, placement.group, placement.instance_id, placement.mesh) == (Trainer, "model", "a", mesh)
    assert (placement.arguments.arguments, placement.mesh_parameter) == ({"model_id": "m", "rank": 2}, "mesh")
    assert placement.description == RemoteClass(execute="first")
    built = pickle.loads(pickle.dumps(placement)).build()
    assert (built.model_id, built.rank, built.mesh) == ("m", 2, mesh)
