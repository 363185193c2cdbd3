"""Everything beside the weights that the next step depends on, as safetensors and JSON: a run resumed from it goes on to the bit.

``trainer_state.json``         counters, learning-rate schedule, optimizer hyper-parameters, Python's generator, provenance
``optimizer.safetensors``      ``<parameter>|<key>``: the state of each parameter
``rng_state.safetensors``      the generators of numpy, torch and each accelerator
``gradients.safetensors``      the open sums, where the checkpoint lies inside an accumulation window
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from twinkle.core.errors import CheckpointError
from twinkle.plugins_builtin.model.transformers._optimizer_group import OptimizerGroup

STATE_FILE = "trainer_state.json"
OPTIMIZER_FILE = "optimizer.safetensors"
RNG_FILE = "rng_state.safetensors"
GRADIENT_FILE = "gradients.safetensors"
CHECKPOINT_VERSION = 1


def write_state(folder: Path, group: OptimizerGroup, consumed_train_samples: int | None, with_optimizer: bool) -> None:
    """Writes the state of ``group``; without the optimizer only counters and provenance."""
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
        state["optimizer"] = _write_optimizer(folder / OPTIMIZER_FILE, group)
        state["lr_scheduler"] = (
            None if group.lr_scheduler is None else _plain(group.lr_scheduler.state_dict(), "the learning-rate scheduler")
        )
        state["scaler"] = None if engine.scaler is None else engine.scaler.state_dict()
        state["python_rng"] = random.getstate()
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
        CheckpointError: a file is missing, or the group was set up differently.
    """
    state = read_counters(folder)
    if "optimizer" not in state or not (folder / RNG_FILE).is_file():
        raise CheckpointError(
            f"{folder} holds weights but no optimizer state: save with save_optimizer=True, or pass resume_only_model=True"
        )
    _restore_optimizer(folder / OPTIMIZER_FILE, state["optimizer"], group)
    if (state["lr_scheduler"] is None) != (group.lr_scheduler is None):
        had, has = ("one", "none") if group.lr_scheduler is None else ("none", "one")
        raise CheckpointError(
            f"{folder} was saved with {had} learning-rate scheduler, but the model has {has}: call set_lr_scheduler as then"
        )
    if group.lr_scheduler is not None:
        group.lr_scheduler.load_state_dict(state["lr_scheduler"])
    if group.engine.scaler is not None and state["scaler"] is not None:
        group.engine.scaler.load_state_dict(state["scaler"])
    group.engine.set_gradient_accumulation_steps(state["gradient_accumulation_steps"])
    denominators, gradients = _read_open_sums(folder / GRADIENT_FILE, group)
    group.engine.restore(denominators, gradients, num_backward=state["cur_step"], num_steps=state["num_optimizer_steps"])
    version, internal, gauss = state["python_rng"]
    random.setstate((version, tuple(internal), gauss))
    _restore_rng(load_file(folder / RNG_FILE))


# ---- optimizer


def _write_optimizer(path: Path, group: OptimizerGroup) -> dict[str, Any] | None:
    optimizer = group.optimizer
    if optimizer is None:
        return None
    names = {parameter: name for name, parameter in group.named_parameters.items()}
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{names[parameter]}|{key}"] = value.detach().contiguous()
            else:
                scalars[f"{names[parameter]}|{key}"] = value
    save_file(tensors, path)
    param_groups = [
        {**{k: v for k, v in g.items() if k not in ("params", "param_names")}, "param_names": [names[p] for p in g["params"]]}
        for g in optimizer.param_groups
    ]
    return {
        "class": type(optimizer).__qualname__,
        "param_groups": _plain(param_groups, "the optimizer"),
        "scalars": _plain(scalars, "the optimizer"),
    }


def _restore_optimizer(path: Path, saved: dict[str, Any] | None, group: OptimizerGroup) -> None:
    optimizer = group.optimizer
    if (saved is None) != (optimizer is None) or (saved is not None and saved["class"] != type(optimizer).__qualname__):
        had = "none" if saved is None else saved["class"]
        has = "none" if optimizer is None else type(optimizer).__qualname__
        raise CheckpointError(f"{path.parent} was saved with optimizer {had}, but the model has {has}: call set_optimizer as then")
    if saved is None:
        return
    names = {parameter: name for name, parameter in group.named_parameters.items()}
    here = [[names[p] for p in g["params"]] for g in optimizer.param_groups]
    there = [g["param_names"] for g in saved["param_groups"]]
    if here != there:
        different = sorted({n for g in here for n in g} ^ {n for g in there for n in g})
        raise CheckpointError(f"{path.parent}: its optimizer holds other parameters than this model's, for example {different[:3]}")
    for live, stored in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        live.update({k: tuple(v) if isinstance(live.get(k), tuple) else v for k, v in stored.items() if k != "param_names"})
    values: dict[str, Any] = {**load_file(path), **saved["scalars"]}
    optimizer.state.clear()
    for key, value in values.items():
        name, _, slot = key.rpartition("|")
        parameter = group.named_parameters[name]
        # Step counters stay where the optimizer keeps them: on the CPU, except in its fused and capturable forms.
        on_device = isinstance(value, Tensor) and value.dim() > 0
        optimizer.state[parameter][slot] = value.to(parameter.device) if on_device else value


def _plain(value: Any, what: str) -> Any:
    """``value`` as JSON keeps it; functions and tensors in it have no such form."""
    if isinstance(value, dict):
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
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy.keys": torch.from_numpy(state["state"]["key"].astype(np.int64)),
        "numpy.rest": torch.tensor([state["state"]["pos"], state["has_gauss"], state["gauss"]], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        tensors |= {f"cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return tensors


def _restore_rng(tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors["torch"])
    position, has_gauss, gauss = tensors["numpy.rest"].tolist()
    np.random.set_state(("MT19937", tensors["numpy.keys"].numpy().astype(np.uint32), int(position), int(has_gauss), gauss))
    for name, state in tensors.items():
        if name.startswith("cuda.") and torch.cuda.is_available():
            torch.cuda.set_rng_state(state, int(name.removeprefix("cuda.")))


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
        gradients.append([None if gradient is None else gradient.to(parameter.device) for gradient, parameter in of_term])
    device = next(iter(group.named_parameters.values())).device
    return [tensors[f"denominator|{i}"].to(device) for i in range(num_terms)], gradients
