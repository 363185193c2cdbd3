"""Mixed precision on the CPU: what is computed in which dtype, and the scaling of float16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import assert_same_bits, batches, make_trainee, sample, train, weights

from twinkle.model import TransformersModel

SAMPLES = [sample(length, seed) for seed, length in enumerate((7, 19, 12))]


@pytest.mark.parametrize(("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_matrices_are_multiplied_in_the_precision_and_weights_stay_as_loaded(folder: Path, precision: Any, dtype: torch.dtype) -> None:
    model = make_trainee(folder, "full", mixed_precision=precision)
    seen: list[torch.dtype] = []
    model.model.model.layers[0].mlp.up_proj.register_forward_hook(lambda module, arguments, output: seen.append(output.dtype))
    output = model.forward_backward(inputs=SAMPLES)
    assert seen == [dtype]
    assert output["logps"].dtype is torch.float32
    assert {p.dtype for p in model.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.model.parameters()} == {torch.float32}


def test_bf16_is_the_default(folder: Path) -> None:
    assert TransformersModel(model_id=folder).mixed_precision == "bf16"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_nearly_as_float32(folder: Path, precision: Any) -> None:
    """bfloat16 has 8 bits: 4e-3 relative a product; ten steps stay within a few hundredths of a loss of 6.5."""
    exact = train(make_trainee(folder, num_steps=20), batches(1) * 10)
    scaler = {"init_scale": 1024.0}  # the default begins with steps that overflow
    mixed = train(make_trainee(folder, num_steps=20, mixed_precision=precision, grad_scaler_config=scaler), batches(1) * 10)
    assert exact[-1] < exact[0] - 0.2
    assert mixed == pytest.approx(exact, abs=0.05)


def test_the_loss_scale_of_float16_does_not_show(folder: Path) -> None:
    """Norms and weights are those of any other scale, with and without clipping. Mutant: clipped before the scale is taken out."""
    for clips in (True, False):
        runs = []
        for scale in (16.0, 256.0):
            config = {"init_scale": scale, "growth_interval": 10_000}
            model = make_trainee(folder, optimizer="SGD", accumulation=2, mixed_precision="fp16", grad_scaler_config=config)
            norms = []
            for batch in batches(4):
                model.forward_backward(inputs=batch)
                norm = model.clip_grad_norm(0.01) if clips else None
                norms += [] if norm is None else [float(norm)]
                model.step()
                model.zero_grad()
                model.lr_step()
            runs.append((norms, weights(model)))
        assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-3)
        for name, value in runs[0][1].items():
            # Small gradients are subnormal in float16 at the smaller scale: 6e-8 / 16 absolute, times the learning rate.
            torch.testing.assert_close(value, runs[1][1][name], rtol=1e-4, atol=1e-6)


def test_a_step_that_overflows_is_left_out_and_so_is_its_schedule(folder: Path) -> None:
    model = make_trainee(folder, mixed_precision="fp16", grad_scaler_config={"init_scale": 2.0**24}, num_steps=100)
    group = model.optimizer_group["default"]
    before, scales = weights(model), []
    for batch in batches(4):
        model.forward_backward(inputs=batch)
        model.clip_grad_and_step()
        scales.append(group.engine.scaler.get_scale())
        if group.lr_scheduler.last_epoch == 0:
            assert_same_bits(weights(model), before)
    assert scales[:2] == [2.0**23, 2.0**22], "halved at each overflow"
    assert group.lr_scheduler.last_epoch == sum(a == b for a, b in zip([2.0**24, *scales], scales, strict=False))
    assert all(v.isfinite().all() for v in weights(model).values())


def test_set_grad_scaler_adds_to_the_constructors_configuration(folder: Path) -> None:
    model = make_trainee(folder, mixed_precision="fp16", grad_scaler_config={"init_scale": 8.0, "growth_interval": 7})
    model.set_grad_scaler(init_scale=4.0)
    scaler = model.optimizer_group["default"].engine.scaler
    assert (scaler.get_scale(), scaler.get_growth_interval()) == (4.0, 7)
    train(model, batches(2))


def test_float16_needs_no_configuration(folder: Path) -> None:
    assert train(make_trainee(folder, mixed_precision="fp16"), batches(2))[0] > 0
