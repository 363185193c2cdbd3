"""Everything beside the weights that the next step depends on, as safetensors and JSON: a run resumed from it goes on to the bit.

``trainer_state.json``         counters, learning-rate schedule, optimizer hyper-parameters, provenance
``optimizer.safetensors``      ``<parameter>|<key>``: the state of each parameter
``rng_state.safetensors``      the generators of Python, numpy, torch and each accelerator
``gradients.safetensors``      the open sums, where the checkpoint lies inside an accumulation window
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from twinkle.core.errors import CheckpointError, InvalidArgument
from twinkle.core.signature import named_parameters
from twinkle.plugins_builtin.model._flat_form import FlatForm
from twinkle.plugins_builtin.model.transformers._optimizer_group import OptimizerGroup

STATE_FILE = "trainer_state.json"
OPTIMIZER_FILE = "optimizer.safetensors"
RNG_FILE = "rng_state.safetensors"
GRADIENT_FILE = "gradients.safetensors"
CHECKPOINT_VERSION = 1


def write_state(folder: Path, group: OptimizerGroup, consumed_train_samples: int | None, with_optimizer: bool) -> None:
    """Writes the state of ``group``; without the optimizer only counters and provenance.

    Raises:
        InvalidArgument: with the optimizer, in the middle of a step.
        CheckpointError: the optimizer or the schedule has a state that has no plain form.
    """
    engine = group.engine
    state: dict[str, Any] = {
        "checkpoint_version": CHECKPOINT_VERSION,
        "adapter_name": group.adapter_name,
        "cur_step": engine.num_backward,
        "num_optimizer_steps": engine.num_steps,
        "gradient_accumulation_steps": engine.gradient_accumulation_steps,
        "consumed_train_samples": consumed_train_samples,
        "provenance": group.provenance,
    }
    if with_optimizer:
        if engine.is_normalised:
            raise InvalidArgument(
                "save(save_optimizer=True) between clip_grad_norm and zero_grad: half a step cannot be kept; "
                "save after zero_grad and lr_step, or after clip_grad_and_step"
            )
        state["dtypes"] = _dtypes(group)
        state["optimizer"] = _write_optimizer(folder / OPTIMIZER_FILE, group)
        state["lr_scheduler"] = _scheduler_state(group)
        state["lr_step_is_due"] = group.lr_step_is_due
        state["scaler"] = None if engine.scaler is None else engine.scaler.state_dict()
        save_file(_rng_tensors(), folder / RNG_FILE)
        _write_open_sums(folder / GRADIENT_FILE, group)
    (folder / STATE_FILE).write_text(json.dumps(state, indent=2), encoding="utf-8")


def read_counters(folder: Path) -> dict[str, Any]:
    """``trainer_state.json`` of ``folder``.

    Raises:
        CheckpointError: it is not there, or of a version that this one does not read.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {STATE_FILE}: it is no checkpoint to resume from (save it with save_optimizer=True)")
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if state.get("checkpoint_version") != CHECKPOINT_VERSION:
        raise CheckpointError(f"{path}: expected checkpoint_version {CHECKPOINT_VERSION}, got {state.get('checkpoint_version')!r}")
    return state


def restore_state(folder: Path, group: OptimizerGroup) -> None:
    """Puts optimizer, schedule, generators and open sums back into ``group``, which has been set up as it was.

    Raises:
        CheckpointError: a file is missing or damaged, or the group was set up differently; nothing of the group was changed.
    """
    state = read_counters(folder)
    if "optimizer" not in state or not (folder / RNG_FILE).is_file():
        raise CheckpointError(
            f"{folder} holds weights but no optimizer state: save with save_optimizer=True, or pass resume_only_model=True"
        )
    _check_setup(folder, state, group)
    try:
        of_parameters = load_file(folder / OPTIMIZER_FILE) if state["optimizer"] is not None else {}
        rng = load_file(folder / RNG_FILE)
        denominators, gradients = _read_open_sums(folder / GRADIENT_FILE, group)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: a file of it is missing or damaged: {error}") from error
    if state["optimizer"] is not None:
        _restore_optimizer({**of_parameters, **state["optimizer"]["scalars"]}, state["optimizer"], group)
    if group.lr_scheduler is not None:
        group.lr_scheduler.load_state_dict(state["lr_scheduler"]["state"])
    group.lr_step_is_due = state["lr_step_is_due"]
    if group.lr_step_is_due:
        group.optimizer._opt_called = True  # torch warns of a schedule whose first step comes before the optimizer's
    if group.engine.scaler is not None:
        group.engine.scaler.load_state_dict(state["scaler"])
    group.engine.set_gradient_accumulation_steps(state["gradient_accumulation_steps"])
    group.engine.restore(denominators, gradients, num_backward=state["cur_step"], num_steps=state["num_optimizer_steps"])
    _restore_rng(rng)


def _check_setup(folder: Path, state: dict[str, Any], group: OptimizerGroup) -> None:
    """Raises :class:`CheckpointError` where ``group`` was set up in another way than the one that ``state`` was saved of."""
    setups = (
        ("optimizer", group.optimizer, state["optimizer"], "set_optimizer"),
        ("learning-rate scheduler", group.lr_scheduler, state["lr_scheduler"], "set_lr_scheduler"),
    )
    for what, live, saved, setter in setups:
        had = "none" if saved is None else saved["class"]
        has = "none" if live is None else type(live).__qualname__
        if had != has:
            raise CheckpointError(f"{folder} was saved with {what} {had}, but the model has {has}: call {setter} as then")
    if (state["scaler"] is None) != (group.engine.scaler is None):
        had, has = ("without", "one") if state["scaler"] is None else ("with", "none")
        raise CheckpointError(f"{folder} was saved {had} a gradient scaler, the model has {has}: pass mixed_precision as then")
    if state["dtypes"] != _dtypes(group):
        had, has = ", ".join(state["dtypes"]), ", ".join(_dtypes(group))
        raise CheckpointError(f"{folder} was saved with weights in {had}, the model has {has}: pass dtype as then")
    if state["optimizer"] is not None:
        names = {parameter: name for name, parameter in group.named_parameters.items()}
        here = [[names.get(p, "a parameter of another group") for p in g["params"]] for g in group.optimizer.param_groups]
        there = [g["param_names"] for g in state["optimizer"]["param_groups"]]
        if here != there:
            different = sorted({n for g in here for n in g} ^ {n for g in there for n in g})[:3]
            raise CheckpointError(
                f"{folder}: its optimizer has groups of {[len(g) for g in there]} parameters, here are {[len(g) for g in here]}, "
                f"in another order or with others{f': {different}' if different else ''}; call set_optimizer as then"
            )
    if state["lr_scheduler"] is not None:
        live_settings = _plain_settings(group.lr_scheduler)
        for name, value in state["lr_scheduler"]["settings"].items():
            if live_settings.get(name) != value:
                saved_class, now = state["lr_scheduler"]["class"], live_settings.get(name)
                raise CheckpointError(
                    f"{folder} was saved with {saved_class}({name}={value!r}), the model has {name}={now!r}: "
                    "a resumed run keeps its schedule; call set_lr_scheduler as then, or resume with resume_only_model=True"
                )


def _dtypes(group: OptimizerGroup) -> list[str]:
    return sorted({str(p.dtype).removeprefix("torch.") for p in group.named_parameters.values()})


# ---- schedule


def _scheduler_state(group: OptimizerGroup) -> dict[str, Any] | None:
    """The class, what it was constructed with (for comparison), and the rest of its state (to be restored)."""
    scheduler = group.lr_scheduler
    if scheduler is None:
        return None
    settings = _plain_settings(scheduler)
    rest = {key: value for key, value in scheduler.state_dict().items() if key not in settings}
    return {"class": type(scheduler).__qualname__, "settings": settings, "state": _plain(rest, "the learning-rate scheduler")}


def _plain_settings(scheduler: Any) -> dict[str, Any]:
    """Those constructor arguments that the scheduler keeps unchanged under their names, as JSON gives them back."""
    names = set(named_parameters(type(scheduler))) - {"optimizer", "last_epoch"}
    kept = {key: value for key, value in scheduler.state_dict().items() if key in names and not callable(value)}
    settings: dict[str, Any] = json.loads(json.dumps(kept))
    return settings


# ---- optimizer


def _write_optimizer(path: Path, group: OptimizerGroup) -> dict[str, Any] | None:
    optimizer = group.optimizer
    if optimizer is None:
        return None
    names = {parameter: name for name, parameter in group.named_parameters.items()}
    if any(p not in names for g in optimizer.param_groups for p in g["params"]):
        raise CheckpointError(
            "the optimizer holds parameters that are not of this group, which a checkpoint of it cannot name: "
            "leave params= of set_optimizer out, or choose from get_state_dict()'s parameters"
        )
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    scalars_on_device: set[str] = set()
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{names[parameter]}|{key}"] = value.detach().contiguous()
                if value.dim() == 0 and value.device.type != "cpu":
                    scalars_on_device.add(key)
            else:
                scalars[f"{names[parameter]}|{key}"] = value
    save_file(tensors, path)
    param_groups = [
        {**{k: v for k, v in g.items() if k not in ("params", "param_names")}, "param_names": [names[p] for p in g["params"]]}
        for g in optimizer.param_groups
    ]
    return {
        "class": type(optimizer).__qualname__,
        "has_flat_form": group.engine.flat_form is not None,
        "param_groups": _plain(param_groups, "the optimizer"),
        "scalars": _plain(scalars, "the optimizer"),
        "scalars_on_device": sorted(scalars_on_device),
    }


def _restore_optimizer(values: dict[str, Any], saved: dict[str, Any], group: OptimizerGroup) -> None:
    optimizer = group.optimizer
    for live, stored in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        for key, value in stored.items():
            if key != "param_names":
                live[key] = _in_form_of(live.get(key), value)
    optimizer.state.clear()
    for key, value in values.items():
        name, _, slot = key.rpartition("|")
        parameter = group.named_parameters[name]
        # Step counters stay where the optimizer keeps them: on the CPU, except in some forms (fused, capturable).
        if isinstance(value, Tensor):
            on_device = value.dim() > 0 or slot in saved["scalars_on_device"]
            value = value.to(parameter.device if on_device else "cpu", copy=True)  # what was loaded is a view into the file
        optimizer.state[parameter][slot] = value
    # The last bit of an update may depend on the form, so the form is part of the state.
    group.engine.flat_form = FlatForm.of(optimizer) if saved["has_flat_form"] else None


def _in_form_of(live: Any, value: Any) -> Any:
    """``value``, read from JSON, as the optimizer keeps it: a tuple, or a tensor (the learning rate of a capturable one)."""
    if isinstance(live, Tensor):
        return torch.tensor(value, dtype=live.dtype, device=live.device)
    return tuple(value) if isinstance(live, tuple) else value


def _plain(value: Any, what: str) -> Any:
    """``value`` as JSON keeps it; functions and tensors in it have no such form."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise CheckpointError(f"the state of {what} has a mapping whose keys are not text, which JSON cannot keep: {value!r}")
        # LambdaLR lists its functions as None; the class makes them anew.
        return {key: _plain(v, what) for key, v in value.items() if not callable(v)}
    if isinstance(value, list | tuple):
        return [_plain(v, what) for v in value]
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(f"the state of {what} has a {type(value).__name__}, which JSON cannot keep: {value!r}")


# ---- random numbers


def _rng_tensors() -> dict[str, Tensor]:
    version, internal, gauss = random.getstate()
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy.keys": torch.from_numpy(state["state"]["key"].astype(np.int64)),
        "numpy.rest": torch.tensor([state["state"]["pos"], state["has_gauss"], state["gauss"]], dtype=torch.float64),
        "python.internal": torch.tensor([version, *internal]),
        "python.gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        tensors |= {f"cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return tensors


def _restore_rng(tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors["torch"])
    position, has_gauss, gauss = tensors["numpy.rest"].tolist()
    np.random.set_state(("MT19937", tensors["numpy.keys"].numpy().astype(np.uint32), int(position), int(has_gauss), gauss))
    version, *internal = tensors["python.internal"].tolist()
    random.setstate((version, tuple(internal), *(tensors["python.gauss"].tolist() or [None])))
    for index in range(torch.cuda.device_count()):
        if f"cuda.{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda.{index}"], index)


# ---- the open accumulation window


def _write_open_sums(path: Path, group: OptimizerGroup) -> None:
    denominators, gradients = group.engine.open_sums()
    if not denominators:
        return
    tensors = {f"denominator|{i}": value for i, value in enumerate(denominators)}
    for index, of_term in enumerate(gradients):
        for name, gradient in zip(group.named_parameters, of_term, strict=True):
            if gradient is not None:
                tensors[f"{index}|{name}"] = gradient.contiguous()
    save_file(tensors, path)


def _read_open_sums(path: Path, group: OptimizerGroup) -> tuple[list[Tensor], list[list[Tensor | None]]]:
    if not path.is_file():
        return [], []
    tensors = load_file(path)
    num_terms = sum(key.startswith("denominator|") for key in tensors)
    gradients: list[list[Tensor | None]] = []
    for index in range(num_terms):
        of_term = ((tensors.get(f"{index}|{name}"), parameter) for name, parameter in group.named_parameters.items())
        gradients.append([None if gradient is None else gradient.to(parameter.device, copy=True) for gradient, parameter in of_term])
    device = next(iter(group.named_parameters.values())).device
    return [tensors[f"denominator|{i}"].to(device, copy=True) for i in range(num_terms)], gradients
