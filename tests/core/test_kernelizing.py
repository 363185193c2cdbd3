"""Kernels in place of layers and functions: all of them or none, undone to the very objects, refused where they do not fit."""

from __future__ import annotations

import copy
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import twinkle
from twinkle.core.contracts.patch import Journal
from twinkle.core.errors import InvalidArgument, PatchConflict, UnknownComponent, UnsuitableLayer
from twinkle.core.runtime.context import ProcessContext


class Scale(nn.Module):
    """A layer with something to read."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Scale(2.0), Scale(3.0)])
        self.last = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return functions.twice(x)  # type: ignore[attr-defined, no-any-return]


def plus_one(layer: Any, x: Tensor) -> Tensor:
    return x * layer.factor + 1


class PlusOne(nn.Module):
    factor: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + 1


class OwnScale(Scale):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.one()

    def one(self) -> int:
        return 1


class WithInit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.one


class Foward(nn.Module):
    def foward(self, x: Tensor) -> Tensor:
        return x + 1


class FowardScale(Scale):
    def foward(self, x: Tensor) -> Tensor:
        return x + 1


class FunctionKernel:
    """A kernel that knows no layers."""

    def __call__(self, x: Tensor) -> Tensor:
        return x * 5

    def reference(self, x: Tensor) -> Tensor:
        return x * 5


class PlusOneKernel(FunctionKernel):
    """One that knows them, but not those with a large factor."""

    layers = frozenset({"Scale"})

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        if layer.factor.item() > 2.5:
            raise UnsuitableLayer(f"expected a factor of 2.5 at most, got {layer.factor.item()}")
        return plus_one


class NoForwardKernel(PlusOneKernel):
    def layer_forward(self, layer: Any) -> Any:
        return None


class BilinearKernel(PlusOneKernel):
    """One for other layers, which it does not look at."""

    layers = frozenset({"Bilinear"})

    def layer_forward(self, layer: Any) -> Callable[..., Any]:
        return lambda layer, x: x @ layer.weight


functions = types.ModuleType("kernelized_functions")
X = torch.ones(2)
BEFORE, AFTER = 12.0, 20.0
"""2 * 3 * 2, and ((2 + 1) * 3 + 1) * 2."""


@pytest.fixture(autouse=True)
def function_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Tensor], Tensor]]:
    def twice(x: Tensor) -> Tensor:
        return x * 2

    monkeypatch.setattr(functions, "twice", twice, raising=False)
    monkeypatch.setitem(sys.modules, functions.__name__, functions)
    yield twice


def state(model: nn.Module) -> list[tuple[type, dict[str, Any]]]:
    return [(type(layer), dict(vars(layer))) for layer in model.modules()]


def assert_untouched(model: nn.Module, before: Sequence[tuple[type, dict[str, Any]]]) -> None:
    for (cls, space), (old_cls, old_space) in zip(state(model), before, strict=True):
        assert cls is old_cls
        assert space.keys() == old_space.keys()
        assert all(value is old_space[name] for name, value in space.items() if name != "training")


@pytest.mark.parametrize("key", ["Scale", Scale, f"{__name__}.Scale"], ids=["name", "class", "path"])
@pytest.mark.parametrize("value", [plus_one, PlusOne, OwnScale, {"cpu": plus_one, "cuda": PlusOne}])
def test_layers_are_replaced_inside_the_block_and_after_it_are_the_very_ones_from_before(
    key: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, __name__, types.SimpleNamespace(Scale=Scale))
    model = Model()
    before = state(model)
    assert model(X)[0] == BEFORE
    with twinkle.kernelize(model, {key: value}) as handle:
        assert handle.replaced == {key if isinstance(key, str) else "Scale": 2}
        assert isinstance(model.layers[0], Scale)
        assert model(X)[0] == AFTER
    assert_untouched(model, before)
    assert model(X)[0] == BEFORE


def test_a_function_of_a_module_is_replaced_for_the_process(function_module: Callable[..., Any]) -> None:
    model, other = Model(), types.ModuleType("by_name")
    other.twice = function_module  # type: ignore[attr-defined]
    sys.modules["by_name"] = other
    with twinkle.kernelize(model, {"kernelized_functions.twice": lambda x: x * 3}) as handle:
        assert handle.replaced == {"kernelized_functions.twice": 1}
        assert model(X)[0] == BEFORE * 1.5
        assert handle.limits == (
            "kernelized_functions.twice is replaced for every model of this process",
            "by_name.twice still is the kernelized_functions.twice from before: it was imported by name",
        )
    del sys.modules["by_name"]
    assert functions.twice is function_module  # type: ignore[attr-defined]


def test_a_class_that_layers_no_longer_have_is_no_stale_copy(function_module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, types.ModuleType(__name__))
    monkeypatch.setattr(sys.modules[__name__], "Scale", Scale, raising=False)
    with twinkle.kernelize(Model(), {"kernelized_functions.twice": lambda x: x * 3, "Scale": PlusOne}) as handle:
        assert handle.limits == ("kernelized_functions.twice is replaced for every model of this process",)


def test_a_kernel_component_is_called_in_place_of_a_function(function_module: Callable[..., Any]) -> None:
    with twinkle.kernelize(Model(), {"kernelized_functions.twice": FunctionKernel}):
        assert functions.twice(X)[0] == 5  # type: ignore[attr-defined]
    assert functions.twice is function_module  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("mapping", "error", "message"),
    [
        ({"Scales": plus_one}, InvalidArgument, "no layer of this model is a 'Scales'. Did you mean 'Scale'"),
        ({nn.Conv1d: plus_one}, InvalidArgument, "no layer of this model is a 'Conv1d'. Known: "),
        ({"kernelized_functions.twic": plus_one}, InvalidArgument, "has no function 'twic'. Did you mean 'twice'"),
        ({"no.such.module.f": plus_one}, InvalidArgument, "no module 'no.such.module' is loaded"),
        ({3: plus_one}, InvalidArgument, "expected a layer's class, its name or the dotted path of a function, got 3"),
        ({}, InvalidArgument, "expected what -> by what"),
        ({"Scale": 3}, InvalidArgument, "expected a kernel's name or hub id, a layer class or a function, got 3"),
        ({"Scale": lambda layer: 0}, InvalidArgument, r"Scale: expected something that takes \(self, x: .*got \(layer\)"),
        ({"Scale": lambda layer, x, more: 0}, InvalidArgument, r"got \(layer, x, more\)"),
        ({"Scale": Foward}, InvalidArgument, "Scale: expected a layer class with a 'forward' of its own, Foward would .*defines foward"),
        ({"Scale": FowardScale}, InvalidArgument, "FowardScale would change nothing: it defines foward"),
        ({"Scale": plus_one, f"{__name__}.Scale": PlusOne}, InvalidArgument, f"once, got it as 'Scale' and as '{__name__}.Scale'"),
        ({"Scale": NoForwardKernel}, InvalidArgument, "Scale: expected 'layer_forward' of .*NoForwardKernel to return .*returned None"),
        ({"Scale": BilinearKernel}, UnsuitableLayer, r"the kernel .*BilinearKernel is for Bilinear \(its 'layers'\), got a Scale"),
        ({"Scale": BilinearKernel()}, UnsuitableLayer, "BilinearKernel is for Bilinear"),
        ({"Scale": WithInit}, InvalidArgument, "WithInit has an __init__, which would not run"),
        ({"kernelized_functions.twice": PlusOne}, InvalidArgument, "is a function: expected a function or a kernel for it, got a layer"),
        ({"kernelized_functions.twice": lambda x, y: 0}, InvalidArgument, r"got \(x, y\)"),
        ({"Bilinear": lambda layer, a, b: a}, InvalidArgument, r"takes \(self, input1: .*, input2: .*got \(layer, a, b\)"),
        ({"OwnScale": Scale}, InvalidArgument, "Scale cannot stand before OwnScale in one class: write a class of its own"),
        ({"Scale": {"cuda": plus_one, "cpx": plus_one}}, InvalidArgument, "expected types of device -> kernels.*Did you mean 'cpu'"),
        ({"Scale": FunctionKernel}, UnsuitableLayer, "replaces functions, it has no 'layer_forward'"),
        ({"Scale": PlusOneKernel()}, UnsuitableLayer, "expected a factor of 2.5 at most, got 3.0"),
        ({"Scale": "rms_nrom"}, UnknownComponent, "no kernel is named 'rms_nrom'. Did you mean 'rms_norm'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_stays_half_done(
    mapping: dict[Any, Any], error: type, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, __name__, types.SimpleNamespace(Scale=Scale))
    model = nn.Sequential(Model(), nn.Bilinear(2, 2, 2), OwnScale(1.0))
    before, raw = state(model), dict(vars(functions))
    with pytest.raises(error, match=message):
        twinkle.kernelize(model, {"Linear": lambda layer, input: input, **mapping} if mapping else {})
    assert_untouched(model, before)
    assert dict(vars(functions)) == raw


def test_a_name_that_two_classes_have_is_not_enough() -> None:
    """One forward pass for an adapter's layer and for the one inside would leave the adapter out."""
    own = type("Linear", (nn.Module,), {"forward": lambda self, input: input, "__module__": "adapters"})
    model = nn.Sequential(own(), nn.Linear(2, 2))
    before = state(model)
    with pytest.raises(
        InvalidArgument, match=r"'Linear' are layers of 2 classes: give one of adapters\.Linear, torch\.nn\.modules\.linear\.Linear"
    ):
        twinkle.kernelize(model, {"Linear": lambda layer, input: input})
    assert_untouched(model, before)
    for key in (nn.Linear, "torch.nn.modules.linear.Linear"):
        with twinkle.kernelize(model, {key: lambda layer, input: input * 3}):
            assert model(X).tolist() == [3.0, 3.0]


def test_names_of_several_inputs_count() -> None:
    """Models give some of them by name; a single input is given by place."""
    layer = nn.Bilinear(2, 2, 2)
    for forward in (lambda layer, input1, input2: input2, lambda layer, *inputs, **named: named["input2"]):
        with twinkle.kernelize(layer, {"Bilinear": forward}):
            assert layer(input1=X, input2=X * 2).tolist() == [2.0, 2.0]


def test_kernels_for_other_devices_alone_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="nothing was replaced: Scale: the mapping has nothing for cpu"):
        twinkle.kernelize(Model(), {"Scale": {"cuda": plus_one}})


def test_only_a_model_has_layers() -> None:
    with pytest.raises(InvalidArgument, match="expected a model, got dict"):
        twinkle.kernelize({}, {"Scale": plus_one})
    with pytest.raises(InvalidArgument, match="mode: expected 'training' or 'inference', got 'eval'"):
        twinkle.kernelize(Model(), {"Scale": plus_one}, mode="eval")  # type: ignore[arg-type]


def test_the_same_kernels_twice_are_counted_and_others_go_on_top(context: ProcessContext) -> None:
    model = Model()
    before = state(model)
    first, again = twinkle.kernelize(model, {"Scale": plus_one}), twinkle.kernelize(model, {"Scale": plus_one})
    assert first is again
    on_top = twinkle.kernelize(model, {"Scale": lambda layer, x: x})
    assert model(X)[0] == 2
    again.revert()
    with pytest.raises(PatchConflict, match=r"kernels for Scale patched <Scale>\.forward on top: revert it first"):
        first.revert()
    on_top.revert()
    assert model(X)[0] == AFTER
    first.revert()
    assert_untouched(model, before)
    assert context.patches.applied == ()


def test_two_functions_of_one_name_are_not_the_same_kernel() -> None:
    model = Model()
    plus, minus = (lambda layer, x, sign=sign: x + sign for sign in (1, -1))
    with twinkle.kernelize(model, {"Scale": plus}) as first, twinkle.kernelize(model, {"Scale": minus}) as second:
        assert first is not second
        assert model(X)[0] == -2
    assert model(X)[0] == BEFORE


def test_layer_classes_nest_because_the_layer_keeps_its_name() -> None:
    model = Model()
    with twinkle.kernelize(model, {"Scale": PlusOne}):
        with twinkle.kernelize(model, {"Scale": plus_one}) as inner:
            assert inner.replaced == {"Scale": 2}
        with twinkle.kernelize(model, {Scale: OwnScale}) as inner:
            assert inner.replaced == {"Scale": 2}
        assert model(X)[0] == AFTER
    assert type(model.layers[0]) is Scale


def test_a_layer_class_runs_where_a_function_was_put_before() -> None:
    model = Model()
    before = state(model)
    with twinkle.kernelize(model, {"Scale": lambda layer, x: x}):
        with twinkle.kernelize(model, {"Scale": PlusOne}):
            assert model(X)[0] == AFTER
        assert model(X)[0] == 2
    assert_untouched(model, before)


def test_patches_and_kernels_revert_in_one_order() -> None:
    class Patch:
        def apply(self, target: Any, journal: Journal) -> None:
            journal.setattr(target.layers[0], "forward", lambda x: x)

    model = Model()
    handle = twinkle.kernelize(model, {"Scale": plus_one})
    with twinkle.patched(model, Patch()), pytest.raises(PatchConflict, match=r"Patch patched <Scale>\.forward on top"):
        handle.revert()
    handle.revert()
    assert model(X)[0] == BEFORE


def test_a_copy_of_a_model_has_kernels_of_its_own() -> None:
    model = Model()
    with twinkle.kernelize(model, {"Scale": plus_one}):
        twin = copy.deepcopy(model)
        with torch.no_grad():
            model.layers[0].factor.fill_(100.0)
        assert twin(X)[0] == AFTER


def test_a_pickled_model_keeps_its_kernels() -> None:
    """A bound method would be pickled by its name, and the file could not be loaded."""
    model = nn.Sequential(Scale(2.0))
    with twinkle.kernelize(model, {"Scale": plus_one}):
        written = pickle.dumps(model)
    twin = pickle.loads(written)
    with torch.no_grad():
        model[0].factor.fill_(100.0)
    assert twin(X).tolist() == [3.0, 3.0]


def test_without_a_mapping_a_model_without_known_layers_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"no built-in kernel is for a layer of this model, which has Linear, Model.*say what to"):
        twinkle.kernelize(Model())


def test_the_handle_says_what_it_replaced(caplog: pytest.LogCaptureFixture) -> None:
    model = Model()
    handle = twinkle.kernelize(model, {"Scale": plus_one, "Linear": {"cuda": plus_one}})
    assert repr(handle) == "<kernels for Scale x2: applied>"
    assert handle.left == {"Linear": "the mapping has nothing for cpu"}
    assert "kernelize: 2 Scale by " in caplog.text
    handle.revert()
    assert repr(handle) == "<kernels for Scale x2: reverted>"
