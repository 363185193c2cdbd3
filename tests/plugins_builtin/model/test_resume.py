"""A resumed run is the undisturbed run, to the bit: the same losses to come, the same weights, the same optimizer state."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import assert_same_bits, batches, lora, make_trainee, packed, train, weights

from twinkle.core.errors import CheckpointError, InvalidArgument
from twinkle.model import TransformersModel
from twinkle.plugins_builtin.lr_scheduler import COMPONENTS as LR_SCHEDULERS
from twinkle.plugins_builtin.optimizer import COMPONENTS as OPTIMIZERS

Make = Callable[[], TransformersModel]


def optimizer_state(model: TransformersModel) -> dict[str, Any]:
    """Everything that the optimizer keeps, by parameter name."""
    group = next(iter(model.optimizer_group.values()))
    names = {p: n for n, p in group.named_parameters.items()}
    return {f"{names[p]}.{key}": value for p, values in group.optimizer.state.items() for key, value in values.items()}


def assert_resumes(make: Make, data: list[Any], cut: int, tmp_path: Path, accumulation: int = 1) -> tuple[TransformersModel, Path]:
    """``data`` in one go, and with a new process's worth of objects after ``cut`` batches, end the same."""
    torch.manual_seed(0)
    whole = make()
    first = train(whole, data[:cut], accumulation)
    path = Path(whole.save("cut", output_dir=tmp_path, save_optimizer=True, consumed_train_samples=17))
    rest = train(whole, data[cut:], accumulation)
    draws = (random.random(), np.random.rand(), torch.rand(()).item())

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(999)
    resumed = make()
    train(resumed, data[:1], accumulation)  # what a fresh model has done before does not matter
    state = resumed.resume_from_checkpoint(path)
    assert state == {"cur_step": cut, "consumed_train_samples": 17, "gradient_accumulation_steps": accumulation}
    assert train(resumed, data[cut:], accumulation) == rest, f"after {first}"
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == draws
    assert_same_bits(weights(resumed), weights(whole))
    expected, got = optimizer_state(whole), optimizer_state(resumed)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert type(got[key]) is type(value), key
        if isinstance(value, torch.Tensor):
            assert torch.equal(got[key], value) and got[key].dtype == value.dtype, key
        else:
            assert got[key] == value, key
    assert _hyper_parameters(resumed) == _hyper_parameters(whole)
    return whole, path


def _hyper_parameters(model: TransformersModel) -> list[dict[str, Any]]:
    group = next(iter(model.optimizer_group.values()))
    return [{k: v for k, v in g.items() if k != "params"} for g in group.optimizer.param_groups]


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("form", ["listed", "packed"])
def test_a_resumed_run_is_the_undisturbed_run(folder: Path, tmp_path: Path, kind: str, accumulation: int, form: str) -> None:
    """With 3 the checkpoint lies inside an accumulation window.

    Mutants seen to fail: open sums not saved; their denominators not saved; RNG, schedule, counters or optimizer not restored.
    """
    data: list[Any] = batches(9)
    if form == "packed":
        data = [[packed(batch)] for batch in data]
    dropout = 0.3 if kind == "lora" else 0.0
    assert_resumes(lambda: make_trainee(folder, kind, accumulation=accumulation, dropout=dropout), data, 4, tmp_path, accumulation)
    state = json.loads((tmp_path / "cut" / "trainer_state.json").read_text())
    assert (state["cur_step"], state["num_optimizer_steps"]) == (4, 4 // accumulation)
    assert (tmp_path / "cut" / "gradients.safetensors").exists() is (accumulation == 3)


def test_dropout_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    """The losses of a run with dropout depend on the generator: without it they differ, so the test above can fail."""
    model = make_trainee(folder, dropout=0.3)
    torch.manual_seed(0)
    one = model.forward_backward(inputs=batches(1)[0])["loss"]
    assert model.forward_backward(inputs=batches(1)[0])["loss"] != one


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_registered_optimizer_resumes(folder: Path, tmp_path: Path, name: str) -> None:
    def make() -> TransformersModel:
        model = make_trainee(folder, "lora", schedule=None)
        model.set_optimizer(name, lr=1e-2)
        return model

    assert_resumes(make, batches(6), 3, tmp_path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("AdamW", {"amsgrad": True}),
        ("Adam", {"foreach": False}),
        ("AdamW", {"fused": True}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
        ("Rprop", {"etas": (0.4, 1.3)}),
    ],
)
def test_an_optimizer_with_more_state_resumes(folder: Path, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    def make() -> TransformersModel:
        model = make_trainee(folder, "full", schedule=None)
        model.set_optimizer(name, lr=1e-3, **options)
        return model

    assert_resumes(make, batches(6), 3, tmp_path)


SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"factor": 0.5, "total_iters": 4},
    "cosine_annealing": {"T_max": 5},
    "cosine_annealing_warm_restarts": {"T_0": 2, "T_mult": 2},
    "cosine_warmup": {"num_warmup_steps": 2, "num_training_steps": 7},
    "cyclic": {"base_lr": 1e-3, "max_lr": 1e-2, "step_size_up": 3, "cycle_momentum": False},
    "exponential": {"gamma": 0.7},
    "linear": {"total_iters": 5},
    "linear_warmup": {"num_warmup_steps": 2, "num_training_steps": 7},
    "multi_step": {"milestones": [2, 4]},
    "one_cycle": {"max_lr": 1e-2, "total_steps": 9},
    "polynomial": {"total_iters": 5},
    "step": {"step_size": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LR_SCHEDULERS))
def test_every_registered_schedule_resumes(folder: Path, tmp_path: Path, name: str) -> None:
    def make() -> TransformersModel:
        model = make_trainee(folder, "lora", schedule=None)
        options = {"lr_lambda": lambda step: 1 / (1 + step)} if name == "lambda" else SCHEDULES[name]
        model.set_lr_scheduler(name, **options)
        return model

    whole, path = assert_resumes(make, batches(7), 3, tmp_path)
    rate = next(iter(whole.optimizer_group.values())).optimizer.param_groups[0]["lr"]
    saved = json.loads((path / "trainer_state.json").read_text())["optimizer"]["param_groups"][0]["lr"]
    assert rate != saved, "the schedule moved after the checkpoint"


@pytest.mark.slow
def test_every_cut_of_a_window_resumes(folder: Path, tmp_path: Path) -> None:
    for cut in range(1, 5):
        assert_resumes(lambda: make_trainee(folder, accumulation=3), batches(5), cut, tmp_path / str(cut), accumulation=3)


def two_terms(inputs: Any, outputs: Any) -> Any:
    """A token mean and a sequence mean, with a denominator each."""
    trained = inputs["labels"] != -100
    return (
        {"loss": -(outputs["logps"] * trained).sum(), "num_tokens": trained.sum(), "domain": "token"},
        {"loss": (outputs["logps"] * trained).sum(1).tanh().sum(), "num_tokens": len(trained), "domain": "sequence"},
    )


def test_a_window_of_two_terms_resumes(folder: Path, tmp_path: Path) -> None:
    def make() -> TransformersModel:
        model = make_trainee(folder, accumulation=3)
        model.set_loss(two_terms)
        return model

    assert_resumes(make, batches(8), 4, tmp_path, accumulation=3)
    stored = load_file(tmp_path / "cut" / "gradients.safetensors")
    assert {key.split("|")[0] for key in stored} == {"denominator", "0", "1"}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_resumes(folder: Path, tmp_path: Path, precision: str) -> None:
    def make() -> TransformersModel:
        # Grows after two good steps, so that the scaler's own counters matter.
        scaler = {"init_scale": 256.0, "growth_interval": 2}
        return make_trainee(folder, accumulation=3, mixed_precision=precision, grad_scaler_config=scaler)

    whole, _ = assert_resumes(make, batches(14), 8, tmp_path, accumulation=3)
    if precision == "fp16":
        engine = next(iter(whole.optimizer_group.values())).engine
        assert engine.scaler is not None and engine.scaler.get_scale() == 1024.0


def test_adapters_are_saved_and_resumed_one_by_one(folder: Path, tmp_path: Path) -> None:
    def make() -> TransformersModel:
        model = make_trainee(folder)
        torch.manual_seed(12)
        model.add_adapter_to_model("second", lora(), gradient_accumulation_steps=2)
        model.set_optimizer("SGD", lr=0.1, momentum=0.9)
        return model

    def run(model: TransformersModel, data: list[Any]) -> None:
        for batch in data:
            for name in ("default", "second"):
                model.forward_backward(inputs=batch, adapter_name=name)
                model.clip_grad_and_step(adapter_name=name)

    whole = make()
    run(whole, batches(3))
    for name in ("default", "second"):
        whole.save(name, output_dir=tmp_path, save_optimizer=True, adapter_name=name)
    run(whole, batches(6)[3:])
    resumed = make()
    for name in ("default", "second"):
        resumed.resume_from_checkpoint(tmp_path / name, adapter_name=name)
    run(resumed, batches(6)[3:])
    for name in ("default", "second"):
        assert_same_bits(weights(resumed, name), weights(whole, name))


def test_only_the_model_is_resumed_where_that_is_asked(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    train(model, batches(3))
    path = model.save("x", output_dir=tmp_path)
    fresh = make_trainee(folder)
    state = fresh.resume_from_checkpoint(path, resume_only_model=True)
    assert state == {"cur_step": 3, "consumed_train_samples": None, "gradient_accumulation_steps": 1}
    assert_same_bits(weights(fresh), weights(model))
    assert optimizer_state(fresh) == {}
    with pytest.raises(CheckpointError, match=r"no optimizer state: save with save_optimizer=True, or pass resume_only_model=True"):
        fresh.resume_from_checkpoint(path)


def test_load_with_the_optimizer_restores_it(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    train(model, batches(3))
    model.save("x", output_dir=tmp_path, save_optimizer=True)
    fresh = make_trainee(folder)
    fresh.load("x", output_dir=tmp_path, load_optimizer=True)
    assert train(fresh, batches(5)[3:]) == train(model, batches(5)[3:])
    assert_same_bits(weights(fresh), weights(model))


def test_a_schedule_step_that_is_due_stays_due(folder: Path, tmp_path: Path) -> None:
    """Saved between zero_grad and lr_step, as a loop that calls the four methods itself may."""

    def half_step(model: TransformersModel) -> None:
        model.forward_backward(inputs=batches(1)[0])
        model.clip_grad_norm()
        model.step()
        model.zero_grad()

    model = make_trainee(folder)
    half_step(model)
    path = model.save("x", output_dir=tmp_path, save_optimizer=True)
    resumed = make_trainee(folder)
    resumed.resume_from_checkpoint(path)
    for each in (model, resumed):
        each.lr_step()
        half_step(each)
    assert_same_bits(weights(resumed), weights(model))
    assert resumed.optimizer_group["default"].lr_scheduler.last_epoch == 1


@pytest.mark.parametrize("method", ["clip_grad_norm", "step"])
def test_half_a_step_is_not_saved(folder: Path, tmp_path: Path, method: str) -> None:
    model = make_trainee(folder)
    model.forward_backward(inputs=batches(1)[0])
    getattr(model, method)()
    with pytest.raises(InvalidArgument, match="half a step cannot be kept; save after zero_grad and lr_step"):
        model.save("x", output_dir=tmp_path, save_optimizer=True)
    assert list(tmp_path.iterdir()) == []
    model.save("x", output_dir=tmp_path)  # the weights alone can


def test_a_summed_window_before_its_step_is_saved(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    model.forward_backward(inputs=batches(1)[0])
    path = model.save("x", output_dir=tmp_path, save_optimizer=True)
    resumed = make_trainee(folder)
    resumed.resume_from_checkpoint(path)
    assert model.clip_grad_and_step() == resumed.clip_grad_and_step()
    assert_same_bits(weights(resumed), weights(model))


@pytest.mark.slow
def test_another_setup_is_told_and_nothing_of_it_is_changed(folder: Path, tmp_path: Path) -> None:
    saved = make_trainee(folder)
    train(saved, batches(2))
    path = saved.save("x", output_dir=tmp_path, save_optimizer=True)
    without = make_trainee(folder, schedule=None)
    train(without, batches(2))
    plain = without.save("plain", output_dir=tmp_path, save_optimizer=True)
    fp16 = make_trainee(folder, mixed_precision="fp16").save("fp16", output_dir=tmp_path, save_optimizer=True)

    def unset() -> TransformersModel:
        model = make_trainee(folder)
        model.optimizer_group["default"].optimizer = None
        return model

    def one_group() -> TransformersModel:
        model = make_trainee(folder, schedule=None)
        model.set_optimizer(torch.optim.AdamW(list(model.get_state_dict().values())[:3]))
        group = model.optimizer_group["default"]
        group.optimizer = torch.optim.AdamW(list(group.named_parameters.values())[:3])
        return model

    def wider() -> TransformersModel:
        model = make_trainee(folder)
        model.model.double()
        return model

    cases: list[tuple[Callable[[], TransformersModel], str, str]] = [
        (lambda: make_trainee(folder, optimizer="SGD"), path, "with optimizer AdamW, but the model has SGD: call set_optimizer as then"),
        (unset, path, "with optimizer AdamW, but the model has none"),
        (
            lambda: make_trainee(folder, schedule=None),
            path,
            "with learning-rate scheduler CosineWarmupScheduler, but the model has none: call set_lr_scheduler as then",
        ),
        (lambda: make_trainee(folder), plain, "with learning-rate scheduler none, but the model has CosineWarmupScheduler"),
        (lambda: make_trainee(folder, schedule="LinearWarmupScheduler"), path, "the model has LinearWarmupScheduler"),
        (
            lambda: make_trainee(folder, num_steps=99),
            path,
            r"with CosineWarmupScheduler\(num_training_steps=12\), the model has num_training_steps=99",
        ),
        (lambda: make_trainee(folder), fp16, "with a gradient scaler, the model has none: pass mixed_precision as then"),
        (lambda: make_trainee(folder, mixed_precision="fp16"), path, "without a gradient scaler, the model has one"),
        (one_group, plain, r"its optimizer has groups of \[28\] parameters, here are \[3\]"),
        (wider, path, "with weights in float32, the model has float64: pass dtype as then"),
    ]
    for make, checkpoint, message in cases:
        model = make()
        with pytest.raises(CheckpointError, match=message):
            model.load(checkpoint, load_optimizer=True)
        group = model.optimizer_group["default"]
        assert group.engine.num_backward == 0
        assert group.optimizer is None or not group.optimizer.state


def test_a_damaged_checkpoint_is_told(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    train(model, batches(2))
    path = Path(model.save("x", output_dir=tmp_path, save_optimizer=True))
    (path / "optimizer.safetensors").write_bytes(b"\1" * 50)
    with pytest.raises(CheckpointError, match="a file of it is missing or damaged"):
        model.resume_from_checkpoint(path)
    (path / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match="a file of it is missing or damaged"):
        model.resume_from_checkpoint(path)
    state = json.loads((path / "trainer_state.json").read_text())
    (path / "trainer_state.json").write_text(json.dumps({**state, "checkpoint_version": 2}))
    with pytest.raises(CheckpointError, match="expected checkpoint_version 1, got 2"):
        model.resume_from_checkpoint(path)
    (path / "trainer_state.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no trainer_state.json: it is no checkpoint to resume from"):
        model.resume_from_checkpoint(path)


def test_parameters_of_nobody_cannot_be_saved(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder, schedule=None)
    model.set_optimizer("SGD", lr=0.1, params=[torch.nn.Parameter(torch.zeros(2))])
    with pytest.raises(CheckpointError, match="the optimizer holds parameters that are not of this group"):
        model.save("x", output_dir=tmp_path, save_optimizer=True)


def test_a_state_without_a_plain_form_cannot_be_saved(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder, schedule=None)
    model.set_lr_scheduler("exponential", gamma=0.9)
    model.optimizer_group["default"].lr_scheduler.extra = {1: "a"}
    with pytest.raises(CheckpointError, match="a mapping whose keys are not text"):
        model.save("x", output_dir=tmp_path, save_optimizer=True)
    model.optimizer_group["default"].lr_scheduler.extra = {"a": {1, 2}}
    with pytest.raises(CheckpointError, match="has a set, which JSON cannot keep"):
        model.save("x", output_dir=tmp_path, save_optimizer=True)
    assert list(tmp_path.iterdir()) == []
