"""Steps on flat buffers are torch's own steps parameter by parameter, and what a buffer cannot do ends the flat form.

In float64 both compute the same formulas in another order of operations: 1e-10 is far above its noise, and far below any wrong term.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import assert_same_bits, batches, make_trainee, train, weights
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from twinkle.model import TransformersModel
from twinkle.plugins_builtin.model import _flat_form
from twinkle.plugins_builtin.model._flat_form import FlatForm
from twinkle.plugins_builtin.model._loss_term import LossTerm
from twinkle.plugins_builtin.model._step_engine import StepEngine

EXACT = {"rtol": 1e-10, "atol": 1e-10}
SHAPES = ((3, 5), (7,), (1, 1), (4, 2, 3), (64,), (9,), (5, 5))
NUM_STEPS, MAX_NORM = 5, 0.5

OPTIMIZERS: list[tuple[type[torch.optim.Optimizer], dict[str, Any]]] = [
    (torch.optim.AdamW, {"fused": True}),
    (torch.optim.AdamW, {"amsgrad": True, "weight_decay": 0.1}),
    (torch.optim.AdamW, {"foreach": True}),
    (torch.optim.Adam, {"fused": True, "weight_decay": 0.1, "maximize": True}),
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (torch.optim.RMSprop, {"momentum": 0.9, "centered": True}),
]
IDS = [f"{cls.__name__} {' '.join(options)}" for cls, options in OPTIMIZERS]


def parameters() -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [Parameter(torch.randn(shape, dtype=torch.float64, generator=generator)) for shape in SHAPES]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in SHAPES]


def make(cls: type[torch.optim.Optimizer], options: dict[str, Any], members: list[Parameter]) -> torch.optim.Optimizer:
    """Two groups, as for decay; the second with a rate of its own."""
    return cls([{"params": members[:4]}, {"params": members[4:], "lr": 3e-2}], lr=1e-2, **options)


class ByParameter:
    """torch's optimizer and clipping on each parameter by itself."""

    def __init__(self, cls: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
        self.parameters = parameters()
        self.optimizer = make(cls, {**options, "fused": False} if "fused" in options else options, self.parameters)

    def step(self, step: int, without: int | None = None) -> Tensor:
        for index, (p, g) in enumerate(zip(self.parameters, gradients(step), strict=True)):
            p.grad = None if index == without else g / 4
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        self.optimizer.step()
        return norm


class Flat:
    """An engine with the flat form."""

    def __init__(self, cls: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
        self.parameters = parameters()
        self.optimizer: Any = make(cls, options, self.parameters)
        self.engine = StepEngine(self.parameters)
        self.engine.flat_form = FlatForm.of(self.optimizer)
        assert self.engine.flat_form is not None

    def backward(self, step: int, without: int | None = None) -> None:
        used = [(p * g).sum() for i, (p, g) in enumerate(zip(self.parameters, gradients(step), strict=True)) if i != without]
        self.engine.backward([LossTerm(torch.stack(used).sum(), torch.tensor(4.0, dtype=torch.float64), "token")])
        self.engine.end_backward()

    def step(self, step: int, without: int | None = None) -> Tensor:
        self.backward(step, without)
        norm = self.engine.clip(MAX_NORM)
        self.engine.step(self.optimizer)
        self.engine.open_window()
        return norm


def assert_equal(flat: Flat, expected: ByParameter) -> None:
    """Parameters, and the state of each under its own name."""
    for ours, theirs in zip(flat.parameters, expected.parameters, strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), **EXACT)
        state, expected_state = flat.optimizer.state.get(ours, {}), expected.optimizer.state.get(theirs, {})
        assert state.keys() == expected_state.keys()
        for key, value in expected_state.items():
            torch.testing.assert_close(state[key], value, **EXACT, check_dtype=False)
    assert set(flat.optimizer.state) <= set(flat.parameters)


@pytest.mark.parametrize(("cls", "options"), OPTIMIZERS, ids=IDS)
def test_steps_are_those_of_torch_parameter_by_parameter(cls: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    """Mutants seen to fail: a view that begins one element late, groups exchanged, gradients not gathered, state not kept."""
    flat, expected = Flat(cls, options), ByParameter(cls, options)
    for step in range(NUM_STEPS):
        torch.testing.assert_close(flat.step(step), expected.step(step), **EXACT)
        assert_equal(flat, expected)
        for optimizer in (flat.optimizer, expected.optimizer):
            optimizer.param_groups[0]["lr"] *= 0.5  # as a schedule does
    assert flat.engine.flat_form is not None
    assert [len(g["params"]) for g in flat.optimizer.param_groups] == [4, 3]


def test_large_parameters_stay_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_flat_form, "_LARGEST", 15)
    flat, expected = Flat(*OPTIMIZERS[0]), ByParameter(*OPTIMIZERS[0])
    own = [p.data_ptr() for p in flat.parameters]
    assert len({p.untyped_storage().data_ptr() for p in flat.parameters}) == 3 + 2, "three large, two buffers"
    for step in range(NUM_STEPS):
        torch.testing.assert_close(flat.step(step), expected.step(step), **EXACT)
    assert_equal(flat, expected)
    assert flat.engine.flat_form is not None
    assert [p.data_ptr() for p in flat.parameters] == own


@pytest.mark.parametrize(("cls", "options"), OPTIMIZERS, ids=IDS)
def test_a_parameter_without_gradient_is_left_alone_and_ends_the_flat_form(
    cls: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    """Neither decay nor momentum moves it, and its step is not counted, then or later."""
    flat, expected = Flat(cls, options), ByParameter(cls, options)
    for step in range(2 * NUM_STEPS):
        without = 5 if step == 2 else None
        before = flat.parameters[5].detach().clone()
        torch.testing.assert_close(flat.step(step, without), expected.step(step, without), **EXACT)
        assert_equal(flat, expected)
        assert torch.equal(flat.parameters[5], before) is (step == 2)
        assert (flat.engine.flat_form is None) is (step >= 2)


def replace_storage(flat: Flat) -> None:
    flat.parameters[1].data = flat.parameters[1].detach() * 2


def convert(flat: Flat) -> None:
    for p in flat.parameters:
        p.data = p.detach().clone()


def load_state(flat: Flat) -> None:
    flat.optimizer.load_state_dict(flat.optimizer.state_dict())


def forget_state(flat: Flat) -> None:
    flat.optimizer.state.clear()


def drop_gradient(flat: Flat) -> None:
    flat.parameters[0].grad = None


@pytest.mark.parametrize("moment", ["before backward", "before the clip", "before the step"])
@pytest.mark.parametrize("change", [replace_storage, convert, load_state, forget_state, drop_gradient])
def test_what_is_changed_from_outside_is_noticed(change: Callable[[Flat], None], moment: str) -> None:
    """Against an engine without flat form, to which the same is done. Nothing is trained that nobody sees."""
    runs = []
    for has_flat_form in (True, False):
        flat = Flat(*OPTIMIZERS[0])
        if not has_flat_form:
            flat.engine.flat_form = None
        for step in range(NUM_STEPS):
            if step == 2 and moment == "before backward":
                change(flat)
            flat.backward(step)
            if step == 2 and moment == "before the clip":
                change(flat)
            flat.engine.clip(MAX_NORM)
            if step == 2 and moment == "before the step":
                change(flat)
            flat.engine.step(flat.optimizer)
            flat.engine.open_window()
        runs.append(flat)
    for ours, theirs in zip(runs[0].parameters, runs[1].parameters, strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), **EXACT)
    assert (runs[0].engine.flat_form is None) is not (change is drop_gradient and moment == "before backward")


def test_another_optimizer_is_noticed() -> None:
    flat = Flat(*OPTIMIZERS[0])
    flat.step(0)
    flat.optimizer = torch.optim.SGD(flat.parameters[:1], lr=1.0)
    before = [p.detach().clone() for p in flat.parameters]
    flat.step(1)
    assert [torch.equal(p, b) for p, b in zip(flat.parameters, before, strict=True)] == [False] + [True] * 6


def test_the_state_of_one_goes_on_in_the_other(tmp_path: Path) -> None:
    """Saved by torch from the flat form and loaded into a plain optimizer: step counters are counted once each."""
    flat, expected = Flat(*OPTIMIZERS[0]), ByParameter(*OPTIMIZERS[0])
    for step in range(3):
        flat.step(step)
        expected.step(step)
    torch.save(flat.optimizer.state_dict(), tmp_path / "optimizer.pt")
    plain = ByParameter(*OPTIMIZERS[0])
    plain.optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt"))
    for group in plain.optimizer.param_groups:
        group["fused"] = False
    for p, q in zip(plain.parameters, flat.parameters, strict=True):
        p.data.copy_(q.detach())
    again = FlatForm.of(flat.optimizer)
    assert again is not None
    flat.engine.flat_form = again
    for step in range(3, 6):
        for each in (flat, plain, expected):
            each.step(step)
    assert flat.engine.flat_form is again
    assert_equal(flat, expected)
    for p, q in zip(plain.parameters, expected.parameters, strict=True):
        torch.testing.assert_close(p, q, **EXACT)


@pytest.mark.parametrize(("num_steps", "left_out"), [(3, 1), (1, 0)])
def test_parameters_whose_states_differ_have_no_flat_form(num_steps: int, left_out: int) -> None:
    """In the number of steps, or where one has no state yet."""
    flat = Flat(*OPTIMIZERS[0])
    for step in range(num_steps):
        flat.step(step, without=0 if step == left_out else None)
    form = FlatForm.of(flat.optimizer)
    assert form is not None
    assert len(form._slabs) == 1, "of the second group: a parameter of the first was left out once"


class Nothing(torch.optim.AdamW):
    """A subclass, which may do anything."""


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adafactor(parameters()[:1]),
        Nothing(parameters()),
        torch.optim.AdamW(parameters(), differentiable=True),
        torch.optim.AdamW([Parameter(torch.zeros(2**18 + 1)), Parameter(torch.zeros(2))]),
        torch.optim.AdamW([Parameter(torch.zeros(2)), Parameter(torch.zeros(2, dtype=torch.float64))]),
        torch.optim.AdamW([Parameter(torch.zeros(3, 2).T), Parameter(torch.zeros(2))]),
    ],
    ids=["adafactor", "subclass", "differentiable", "large", "two dtypes", "not contiguous"],
)
def test_what_has_no_flat_form(optimizer: torch.optim.Optimizer) -> None:
    assert FlatForm.of(optimizer) is None


class Calls(TorchDispatchMode):
    """Names of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("num_parameters", [3, 300])
def test_the_number_of_operations_does_not_depend_on_the_number_of_parameters(num_parameters: int) -> None:
    members = [Parameter(torch.ones(2, 2)) for _ in range(num_parameters)]
    optimizer = torch.optim.AdamW(members, fused=True)
    engine = StepEngine(members)
    engine.flat_form = FlatForm.of(optimizer)
    for _ in range(2):
        for p in members:
            p.grad = torch.ones(2, 2)
        engine._denominators = [torch.ones((), dtype=torch.float64)]
        with Calls() as calls:
            engine.clip(1.0)
            engine.step(optimizer)
        engine.open_window()
    assert calls.names.count("aten::_fused_adamw_") == 1
    assert len(calls.names) < 30, calls.names


# ---- in a model


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_model_trains_as_without_the_flat_form(folder: Path, kind: str) -> None:
    runs = []
    for has_flat_form in (True, False):
        model = make_trainee(folder, kind, accumulation=2, dtype="float64")
        model.model.double()
        model.set_optimizer("AdamW", lr=1e-3)
        group = next(iter(model.optimizer_group.values()))
        assert group.engine.flat_form is not None
        if not has_flat_form:
            group.engine.flat_form = None
        train(model, batches(6), 2)
        assert (group.engine.flat_form is not None) is has_flat_form
        runs.append(weights(model))
    for name, value in runs[0].items():
        torch.testing.assert_close(value, runs[1][name], **EXACT)


@pytest.mark.parametrize("init", [{}, {"params": []}, {"foreach": True}])
def test_who_gets_the_flat_form(folder: Path, init: dict[str, Any]) -> None:
    model = make_trainee(folder)
    group = model.optimizer_group["default"]
    own = list(group.named_parameters.values())
    model.set_optimizer("AdamW", **{**init, "params": own} if "params" in init else init)
    assert (group.engine.flat_form is None) is ("params" in init)
    assert bool(group.optimizer.defaults["fused"]) is (not init), "what is chosen by hand stays"
    model.set_optimizer(torch.optim.AdamW(own))
    assert group.engine.flat_form is None


def test_a_run_that_lost_the_flat_form_is_resumed_without(folder: Path, tmp_path: Path) -> None:
    def step(model: TransformersModel, batch: Any, without: bool = False) -> None:
        model.forward_backward(inputs=batch)
        if without:
            next(iter(model.optimizer_group["default"].named_parameters.values())).grad = None
        model.clip_grad_and_step()

    data = batches(4)
    whole = make_trainee(folder, optimizer="SGD")
    step(whole, data[0], without=True)
    path = whole.save("x", output_dir=tmp_path, save_optimizer=True)
    resumed = make_trainee(folder, optimizer="SGD")
    resumed.resume_from_checkpoint(path)
    assert resumed.optimizer_group["default"].engine.flat_form is None
    for batch in data[1:]:
        step(whole, batch)
        step(resumed, batch)
    assert_same_bits(weights(resumed), weights(whole))
