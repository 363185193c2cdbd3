"""Several adapters on one model: each trains as if it were alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_training import assert_same_bits, batches, lora, sample, weights
from transformers import AutoModelForCausalLM

from twinkle.core.errors import InvalidArgument
from twinkle.model import TransformersModel

LR, DECAY, MAX_NORM = 1e-4, 0.1, 0.05
SETUPS: dict[str, dict[str, Any]] = {
    "first": {"config": {"r": 4, "lora_alpha": 8}, "optimizer": "AdamW", "accumulation": 1, "seed": 1},
    "second": {"config": {"r": 2, "lora_alpha": 16}, "optimizer": "SGD", "accumulation": 2, "seed": 2},
    "third": {"config": {"r": 4, "lora_alpha": 4, "lora_dropout": 0.4}, "optimizer": "Adafactor", "accumulation": 3, "seed": 3},
}


def add(model: TransformersModel, name: str) -> None:
    setup = SETUPS[name]
    torch.manual_seed(setup["seed"])
    config = LoraConfig(target_modules="all-linear", init_lora_weights=False, **setup["config"])
    model.add_adapter_to_model(name, config, gradient_accumulation_steps=setup["accumulation"])
    model.set_optimizer(setup["optimizer"], lr=1e-2, adapter_name=name)
    model.set_lr_scheduler("LinearWarmupScheduler", num_warmup_steps=1, num_training_steps=9, adapter_name=name)


def step(model: TransformersModel, name: str, number: int) -> tuple[Any, ...]:
    """One call of an adapter on its own data; its dropout depends on nothing that the others did."""
    torch.manual_seed(1000 * SETUPS[name]["seed"] + number)
    loss = model.forward_backward(inputs=batches(9, seed=SETUPS[name]["seed"])[number], adapter_name=name)["loss"]
    return loss, model.clip_grad_and_step(adapter_name=name)


@pytest.mark.slow
def test_adapters_that_train_by_turns_do_not_touch_each_other(folder: Path) -> None:
    """To the bit: weights, losses, norms and metrics are those of three models with one adapter each.

    Mutants seen to fail: all adapters active in the forward pass; one engine, or one window, for all.
    """
    alone: dict[str, Any] = {}
    for name in SETUPS:
        model = TransformersModel(model_id=folder, mixed_precision="no")
        add(model, name)
        outcomes = [step(model, name, number) for number in range(7)]
        alone[name] = (outcomes, weights(model), float(model.calculate_metric()["loss"]))
    together = TransformersModel(model_id=folder, mixed_precision="no")
    for name in SETUPS:
        add(together, name)
    base = {n: p.detach().clone() for n, p in together.model.named_parameters() if "lora_" not in n}
    outcomes = {name: [] for name in SETUPS}
    for number in range(7):
        for name in SETUPS if number % 2 else reversed(SETUPS):
            outcomes[name].append(step(together, name, number))
            # A look at one adapter in the middle of another's window disturbs neither.
            together.forward_only(inputs=batches(1)[0], adapter_name="first")
    for name in SETUPS:
        assert outcomes[name] == alone[name][0]
        assert_same_bits(weights(together, name), alone[name][1])
        assert float(together.calculate_metric(adapter_name=name)["loss"]) == alone[name][2]
    assert_same_bits({n: p.detach() for n, p in together.model.named_parameters() if n in base}, base)


def test_the_adapter_added_last_is_meant_where_none_is_named(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    assert list(model.optimizer_group) == [""]
    for name in ("first", "second"):
        add(model, name)
    assert list(model.optimizer_group) == ["first", "second"]
    before = {name: weights(model, name) for name in ("first", "second")}
    for _ in range(4):
        model.forward_backward(inputs=batches(1)[0])
        model.clip_grad_and_step()
    assert_same_bits(weights(model, "first"), before["first"])
    assert any(not torch.equal(v, before["second"][n]) for n, v in weights(model, "second").items())
    assert all(".second." in name for name in model.get_state_dict())


def test_the_forward_pass_has_the_named_adapter_alone(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    samples, logps = batches(1)[0], {}
    for name in ("first", "second"):
        add(model, name)
        logps[name] = model.forward_only(inputs=samples)["logps"]
    for name in ("first", "second", "first"):
        assert torch.equal(model.forward_only(inputs=samples, adapter_name=name)["logps"], logps[name])
    assert not torch.allclose(logps["first"], logps["second"])


def test_an_adapter_that_is_not_trainable_has_nothing_to_train(folder: Path, tmp_path: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    add(model, "first")
    path = model.save("x", output_dir=tmp_path)
    frozen = TransformersModel(model_id=folder, mixed_precision="no")
    frozen.add_adapter_to_model("frozen", path, is_trainable=False)
    samples = batches(1)[0]
    assert torch.equal(frozen.forward_only(inputs=samples)["logps"], model.forward_only(inputs=samples)["logps"])
    assert frozen.get_state_dict() == {}
    assert not any(p.requires_grad for p in frozen.model.parameters())


@pytest.mark.usefixtures("norms_in_float64")
def test_an_adapter_trains_as_by_peft_alone(folder: Path) -> None:
    """Five clipped AdamW steps of two calls each, against a loop of plain PEFT and torch; float64, 1e-9 after five steps."""
    data = [[sample(5 + 3 * i + j, seed=10 * i + j) for j in range(3)] for i in range(10)]
    reference: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    torch.manual_seed(5)
    reference = get_peft_model(reference, lora(), adapter_name="default").double()
    trained = {n: p for n, p in reference.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=LR, weight_decay=DECAY)
    norms = []
    for first in range(0, 10, 2):
        samples = [*data[first], *data[first + 1]]
        count = sum(label != -100 for s in samples for label in s["labels"])
        for s in samples:
            logits = reference(input_ids=torch.tensor([s["input_ids"]])).logits[0]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(s["labels"]), reduction="sum") / count
            loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained.values(), MAX_NORM))
        optimizer.step()
        optimizer.zero_grad()
    assert min(norms) > MAX_NORM

    model = TransformersModel(model_id=folder, dtype="float64", mixed_precision="no")
    torch.manual_seed(5)
    model.add_adapter_to_model("default", lora(), gradient_accumulation_steps=2)
    model.model.double()
    model.set_optimizer("AdamW", lr=LR, weight_decay=DECAY)
    ours = []
    for batch in data:
        model.forward_backward(inputs=batch, micro_batch_size=2)
        ours.append(model.clip_grad_and_step(MAX_NORM))
    torch.testing.assert_close(torch.stack(ours[1::2]), torch.stack(norms), rtol=1e-9, atol=0)
    for name, value in weights(model).items():
        torch.testing.assert_close(value, trained[name].detach(), rtol=1e-9, atol=1e-9)


def test_an_unknown_adapter_is_told(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    add(model, "first")
    calls = [
        lambda: model.forward(inputs=batches(1)[0], adapter_name="frist"),
        lambda: model.set_loss("cross_entropy", adapter_name="frist"),
        lambda: model.save("x", adapter_name="frist"),
        lambda: model.calculate_metric(adapter_name="frist"),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument, match=r"the model has no adapter 'frist'\. Did you mean 'first'\?"):
            call()
