"""What the model says of calls that cannot be: what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import make_tiny, sample
from transformers import AutoConfig

from twinkle.core.errors import InvalidArgument, InvalidData, UnknownComponent
from twinkle.model import TransformersModel

SAMPLES = [sample(length, seed) for seed, length in enumerate((7, 12))]
Call = Callable[[TransformersModel], Any]


@pytest.fixture
def model(folder: Path) -> TransformersModel:
    return TransformersModel(model_id=folder, mixed_precision="no")


@pytest.fixture
def bare(tmp_path: Path) -> TransformersModel:
    """A model whose folder holds no tokenizer."""
    folder = make_tiny(tmp_path / "bare")
    for file in folder.glob("token*"):
        file.unlink()
    return TransformersModel(model_id=folder, mixed_precision="no")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.forward_backward(inputs=SAMPLES, microbatch_size=1), "'microbatch_size'.* Did you mean 'micro_batch_size'"),
        (lambda m: m.forward_backward(inputs=SAMPLES, advantage=[1, 2]), "neither the method nor loss 'cross_entropy' takes 'advantage'"),
        (lambda m: m.forward_only(inputs=SAMPLES, disable_loras=True), "'disable_loras'.* Did you mean 'disable_lora'"),
        (lambda m: (m.forward(inputs=SAMPLES), m.calculate_loss(adapter="x")), "'adapter'.* Did you mean 'adapter_name'"),
        (lambda m: m.set_loss("cross_entropy", reductoin="sum"), "'reductoin'.* Did you mean 'reduction'"),
        (lambda m: m.set_optimizer("AdamW", learning_rate=1.0), "does not take the argument 'learning_rate'"),
        (lambda m: m.set_optimizer("SGD", momentom=0.9), "'momentom'.* Did you mean 'momentum'"),
        (lambda m: m.forward_backward(inputs=SAMPLES, micro_batch_size=0), "micro_batch_size: expected a whole number of 1 or more, got 0"),
        (
            lambda m: m.forward_backward(inputs=SAMPLES, gradient_accumulation_steps=0),
            "gradient_accumulation_steps: expected a whole number of 1 or more, got 0",
        ),
        (
            lambda m: m.set_lr_scheduler("cosine_warmup", num_warmup_steps=1, num_training_steps=2),
            "needs an optimizer: call set_optimizer first",
        ),
        (lambda m: (m.forward_backward(inputs=SAMPLES), m.step()), "step needs an optimizer: call set_optimizer first"),
        (lambda m: m.calculate_loss(), r"calculate_loss needs a forward pass: call forward\(inputs=...\) first"),
        (lambda m: m.backward(), "backward needs a forward pass"),
        (lambda m: (m.forward(inputs=SAMPLES), m.backward()), "backward needs a loss: call calculate_loss first, or forward_backward"),
        (lambda m: (m.forward_backward(inputs=SAMPLES), m.backward()), "backward needs a forward pass"),
    ],
)
def test_a_call_that_cannot_be_is_told(model: TransformersModel, call: Call, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mixed_percision": "no"}, "takes the argument 'mixed_percision', .* Did you mean 'mixed_precision'"),
        ({"attn_implementaton": "eager"}, "'attn_implementaton', .* Did you mean 'attn_implementation'"),
        ({"activation_memory_bytes": "8GB"}, r"activation_memory_bytes: expected a whole number of bytes \(8 GB is 8 .*; got '8GB'"),
        ({"activation_memory_bytes": -3}, "activation_memory_bytes: .*; got -3"),
        ({"activation_memory_bytes": 1.5}, "activation_memory_bytes: .*; got 1.5"),
        ({"activation_memory_bytes": True}, "activation_memory_bytes: .*; got True"),
    ],
)
@pytest.mark.parametrize("form", ["model_id", "config", "class"])
def test_an_argument_of_the_model_that_cannot_be_is_told(folder: Path, form: str, arguments: dict[str, Any], message: str) -> None:
    config = AutoConfig.from_pretrained(folder)
    source: dict[str, Any] = {"model_id": folder} if form == "model_id" else {"config": config}
    if form == "class":
        source["model_cls"] = "Qwen3ForCausalLM"
    with pytest.raises(InvalidArgument, match=message):
        TransformersModel(**source, **arguments)


def test_what_transformers_takes_is_taken(folder: Path) -> None:
    """Its own arguments, and fields of the configuration. Another error of a constructor stays what it is."""
    model = TransformersModel(model_id=folder, attn_implementation="eager", rms_norm_eps=0.5, use_safetensors=True)
    assert (model.model.config._attn_implementation, model.model.config.rms_norm_eps) == ("eager", 0.5)

    by_class = TransformersModel(model_cls="Qwen3ForCausalLM", config=AutoConfig.from_pretrained(folder), attn_implementation="eager")
    assert by_class.model.config._attn_implementation == "eager"

    class Broken:
        def __init__(self, config: Any, **options: Any) -> None:
            len(config)

    with pytest.raises(TypeError, match="has no len"):
        TransformersModel(model_cls=Broken, config=AutoConfig.from_pretrained(folder), attn_implementation="eager")


@pytest.mark.parametrize("method", ["forward", "forward_only", "forward_backward"])
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("hello", "got str"),
        (None, "got NoneType"),
        (5, "got int"),
        (torch.tensor([1, 2]), "got Tensor"),
        ([1, 2], "sample 0 is of type int"),
        ([SAMPLES[0], "hello"], "sample 1 is of type str"),
    ],
)
def test_inputs_of_another_kind_are_told(model: TransformersModel, method: str, inputs: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"inputs: expected encoded samples or trajectories .*{message}"):
        getattr(model, method)(inputs=inputs)


def test_a_schedule_without_its_arguments_is_told(model: TransformersModel) -> None:
    model.set_optimizer("AdamW")
    with pytest.raises(InvalidArgument, match="needs the arguments 'num_warmup_steps', 'num_training_steps'"):
        model.set_lr_scheduler("CosineWarmupScheduler")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.set_loss("CrosEntropyLoss"), "CrossEntropyLoss"),
        (lambda m: m.set_optimizer("adamv"), "Adam"),
        (lambda m: m.set_lr_scheduler("cosine_warmpu", num_warmup_steps=1), "cosine_warmup"),
        (lambda m: m.add_metric("Acuracy"), "Accuracy"),
        (lambda m: m.set_processor("InputProcesor"), "InputProcessor"),
    ],
)
def test_an_unknown_name_comes_with_a_suggestion(model: TransformersModel, call: Call, message: str) -> None:
    model.set_optimizer("AdamW")
    with pytest.raises(UnknownComponent, match=f"Did you mean '{message}'"):
        call(model)


@pytest.mark.parametrize("method", ["forward", "forward_only", "forward_backward"])
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "inputs is empty: expected one sample or more"),
        ([SAMPLES[0], {"messages": []}], "inputs mixes encoded samples and trajectories: sample 1 has no 'input_ids'"),
        ([{"input_ids": []}], "sample 0 of the batch has no token"),
        ([{"input_ids": [1, 2, 3], "labels": [2]}], r"sample 0 of the batch: 'labels' has shape \(1,\), but 'input_ids' has \(3,\)"),
        ([SAMPLES[0], {**SAMPLES[1], "position_ids": [0]}], "sample 1 of the batch: 'position_ids' has shape"),
    ],
)
def test_inputs_that_cannot_be_used_are_told(model: TransformersModel, method: str, inputs: Any, message: str) -> None:
    with pytest.raises(InvalidData, match=message):
        getattr(model, method)(inputs=inputs)


def test_inputs_that_nobody_can_encode_are_told(bare: TransformersModel) -> None:
    with pytest.raises(InvalidData, match="inputs are not encoded: encode the data set, or call set_template so that the model can"):
        bare.forward(inputs=[{"messages": [{"role": "user", "content": "?"}]}])


def test_a_backward_after_clipping_says_what_is_missing(model: TransformersModel) -> None:
    model.set_optimizer("SGD")
    model.forward_backward(inputs=SAMPLES)
    model.clip_grad_norm()
    with pytest.raises(InvalidArgument, match=r"normalised already: call step\(\) and zero_grad\(\) before the next backward"):
        model.forward_backward(inputs=SAMPLES)


def test_a_call_that_failed_leaves_the_window_as_it_was(model: TransformersModel) -> None:
    """A wrong argument is told before anything is computed; the next call is the first of the window still."""
    model.set_optimizer("SGD", lr=0.1)
    with pytest.raises(InvalidArgument):
        model.forward_backward(inputs=SAMPLES, typo=1)
    with pytest.raises(InvalidData):
        model.forward_backward(inputs=[SAMPLES[0], {"input_ids": []}], micro_batch_size=1)
    assert model.optimizer_group[""].engine.num_backward == 0
    assert all(p.grad is None for p in model.model.parameters())


def weights(model: TransformersModel) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.model.parameters()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "step needs an optimizer: call set_optimizer first"),
        ({"max_grad_norm": "1.0"}, "max_grad_norm: expected a number of 0 or more .*, got '1.0'"),
        ({"max_grad_norm": None}, "max_grad_norm: .*, got None"),
        ({"max_grad_norm": -1.0}, "max_grad_norm: .*, got -1.0"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm: .*, got nan"),
        ({"norm_type": "two"}, "norm_type: expected a number above 0, .*, got 'two'"),
        ({"norm_type": 0}, "norm_type: .*, got 0"),
    ],
)
@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_a_step_that_cannot_be_leaves_the_window_open(folder: Path, precision: Any, arguments: dict[str, Any], message: str) -> None:
    """Told before gradients are divided or unscaled: set right, the step is the one that it would have been."""
    found = []
    for goes_wrong in (False, True):
        model = TransformersModel(model_id=folder, mixed_precision=precision, grad_scaler_config={"init_scale": 16.0})
        before = weights(model)
        if arguments or not goes_wrong:
            model.set_optimizer("SGD", lr=0.1)
        model.forward_backward(inputs=SAMPLES[:1], gradient_accumulation_steps=1)
        if goes_wrong:
            with pytest.raises(InvalidArgument, match=message):
                model.clip_grad_and_step(**arguments)
            model.set_optimizer("SGD", lr=0.1)
        model.forward_backward(inputs=SAMPLES[1:])
        model.clip_grad_and_step()
        found.append(weights(model))
        assert model.optimizer_group[""].engine.num_steps == 1
        assert not all(torch.equal(*pair) for pair in zip(before, found[-1], strict=True))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_an_optimizer_that_fails_has_made_no_step(model: TransformersModel) -> None:
    class FailsOnce(torch.optim.SGD):
        num_calls = 0

        def step(self, closure: Any = None) -> Any:
            self.num_calls += 1
            if self.num_calls == 1:
                raise OSError("once")
            return super().step(closure)

    model.set_optimizer(FailsOnce, lr=0.1)
    model.forward_backward(inputs=SAMPLES)
    with pytest.raises(OSError, match="once"):
        model.step()
    assert model.optimizer_group[""].engine.num_steps == 0
    model.step()
    assert model.optimizer_group[""].engine.num_steps == 1


def test_parameters_of_the_optimizer_change_all_or_none(model: TransformersModel) -> None:
    model.set_optimizer("AdamW", lr=0.1)
    model.forward_backward(inputs=SAMPLES)
    with pytest.raises(InvalidArgument, match="AdamW has no 'momentum'"):
        model.step(optim_params={"lr": 0.5, "momentum": 0.9})
    assert {g["lr"] for g in model.optimizer_group[""].optimizer.param_groups} == {0.1}


class FailsAt:
    """Cross entropy that fails at the call ``number`` (from 1)."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, inputs: Any, outputs: Any) -> dict[str, Any]:
        self.number -= 1
        if self.number == 0:
            raise OSError("out of something")
        counted = inputs["labels"] != -100
        return {"loss": -outputs["logps"].masked_fill(~counted, 0.0).sum(), "num_tokens": counted.sum()}


def test_a_call_that_fails_on_its_way_leaves_no_part_in_a_window_that_it_began(model: TransformersModel) -> None:
    """Caught and tried again it counts once. Mutants: what went before stays; its metrics do."""
    model.set_optimizer("SGD", lr=0.0)
    model.set_loss(FailsAt(0))
    expected = model.forward_backward(inputs=SAMPLES, micro_batch_size=1)["loss"]
    model.clip_grad_and_step()
    model.calculate_metric()
    model.set_loss(FailsAt(2))
    with pytest.raises(OSError, match="out of something"):
        model.forward_backward(inputs=SAMPLES, micro_batch_size=1)
    engine = model.optimizer_group[""].engine
    assert engine.open_sums() == ([], [])
    assert engine.num_backward == 1
    assert all(p.grad is None for p in model.model.parameters())
    assert model.forward_backward(inputs=SAMPLES, micro_batch_size=1)["loss"] == expected
    model.clip_grad_and_step()
    assert float(model.calculate_metric()["loss"]) == pytest.approx(expected, abs=1e-4)


def test_a_call_that_fails_in_an_open_window_says_what_stays_in_it(model: TransformersModel) -> None:
    model.set_loss(FailsAt(3))
    model.forward_backward(inputs=SAMPLES[:1], gradient_accumulation_steps=2)
    with pytest.raises(OSError, match="out of something") as told:
        model.forward_backward(inputs=SAMPLES, micro_batch_size=1)
    assert told.value.__notes__ == ["the accumulation window keeps the gradients of the micro-batches that went before in this call"]
    model.set_loss(FailsAt(1))
    with pytest.raises(OSError, match="out of something") as nothing:
        model.forward_backward(inputs=SAMPLES)
    assert "__notes__" not in vars(nothing.value)


def test_a_call_that_failed_did_not_change_the_length_of_the_window(model: TransformersModel) -> None:
    with pytest.raises(InvalidData):
        model.forward_backward(inputs=[{"input_ids": [1, 2]}], gradient_accumulation_steps=3)
    assert model.optimizer_group[""].engine.gradient_accumulation_steps == 1


def test_a_schedule_of_batches_is_told_once_with_the_right_number(folder: Path, tmp_path: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.set_optimizer("AdamW")
    model.set_lr_scheduler("LinearWarmupScheduler", num_warmup_steps=0, num_training_steps=4)
    for _ in range(4):
        model.forward_backward(inputs=SAMPLES, gradient_accumulation_steps=2)
        model.clip_grad_and_step()
    with pytest.warns(UserWarning, match=r"num_training_steps=4; 4 batches made 2 optimizer steps.*pass num_training_steps=2"):
        model.save("x", output_dir=tmp_path)
    model.save("y", output_dir=tmp_path)  # and no more
