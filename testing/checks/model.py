"""What a model backend keeps: steps that train, and checkpoints that are whole or the ones of before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from twinkle.testing.check import check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ModelExample(Example):
    """For model backends: a tiny model in ``init``."""

    inputs: Callable[[], Sequence[Any]]
    """Four encoded samples or more, of different lengths."""
    prepare: Callable[[Any], None]
    """Makes an instance ready to train: its adapter, its optimizer (a learning rate that shows) ..."""


def _new(component: Specimen) -> tuple[Any, list[Any]]:
    example = component.example_of(ModelExample)
    model = component.build()
    example.prepare(model)
    return model, list(example.inputs())


def _weights(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.get_state_dict().items()}


def _step(model: Any, inputs: list[Any]) -> None:
    model.forward_backward(inputs=inputs)
    model.clip_grad_and_step()


def _differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    import torch

    names = sorted(first.keys() | second.keys())
    return [n for n in names if n not in first or n not in second or not torch.equal(first[n], second[n])]


def _loss(model: Any, inputs: list[Any]) -> float:
    return float(model.forward_only(inputs=inputs)["loss"])


@check("model", timeout_s=180)
def a_step_lowers_the_loss(component: Specimen) -> None:
    """Ten steps on the same samples change the trained weights and lower the loss on them."""
    model, inputs = _new(component)
    before, weights = _loss(model, inputs), _weights(model)
    for _ in range(10):
        _step(model, inputs)
    after = _loss(model, inputs)
    expect(_differing(weights, _weights(model)), "no weight changed")
    expect(after < before, f"the loss went from {before:.6g} to {after:.6g}")


@check("model", timeout_s=180)
def looking_changes_nothing(component: Specimen) -> None:
    """forward_only() leaves weights and open gradients alone: an evaluation in the middle of training does not change it."""
    plain, inputs = _new(component)
    looked, _ = _new(component)
    _step(plain, inputs)
    looked.forward_only(inputs=inputs[:1])
    looked.forward_backward(inputs=inputs)
    looked.forward_only(inputs=inputs[1:])
    looked.clip_grad_and_step()
    found = _differing(_weights(plain), _weights(looked))
    expect(not found, f"with evaluations in between, {', '.join(found[:3])} {'are' if len(found) > 1 else 'is'} another one after the step")


@check("model", timeout_s=180)
def a_checkpoint_gives_the_weights_back(component: Specimen) -> None:
    """save() and load() into a new instance give every trained weight back, to the bit."""
    model, inputs = _new(component)
    _step(model, inputs)
    with tempfile.TemporaryDirectory() as folder:
        saved = model.save("checkpoint", output_dir=folder)
        other, _ = _new(component)
        other.load(saved)
        found = _differing(_weights(model), _weights(other))
    expect(not found, f"{len(found)} weights come back as others, {', '.join(found[:3])} among them")


@check("model", timeout_s=180)
def a_failed_save_leaves_the_old_checkpoint(component: Specimen) -> None:
    """A save that fails (the disk is full, the process is stopped) raises, and the checkpoint of that name from before still loads."""
    model, inputs = _new(component)
    with tempfile.TemporaryDirectory() as folder:
        saved = model.save("checkpoint", output_dir=folder)
        old = _weights(model)
        for _ in range(3):
            _step(model, inputs)
        with mock.patch.multiple(os, fsync=_no_space, rename=_no_space, replace=_no_space):
            try:
                model.save("checkpoint", output_dir=folder)
            except OSError:
                failed = True
            else:
                failed = False
        expect(failed, "the save neither flushed nor renamed a file: it wrote into the old checkpoint, which a stop in the middle ruins")
        expect(Path(saved).exists(), "the checkpoint of before is gone")
        other, _ = _new(component)
        other.load(saved)
        found = _differing(old, _weights(other))
    expect(not found, f"{len(found)} weights of the checkpoint of before are others, {', '.join(found[:3])} among them")


def _no_space(*arguments: Any) -> None:
    raise OSError(28, "No space left on device")


CHECKS = (a_step_lowers_the_loss, looking_changes_nothing, a_checkpoint_gives_the_weights_back, a_failed_save_leaves_the_old_checkpoint)
