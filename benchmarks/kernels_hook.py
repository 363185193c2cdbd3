"""What patches and plugins cost a training step: nothing, since what they change is found by an attribute look-up that happens anyway.

A patched layer has a ``forward`` of its own; here it is the very function of its class, so that the work is the same and only the way there
differs. Each plugin announces a kernel and listens to the end of every step. One model serves all variants, which are put on before the
clock starts: two models of the same weights differ by more than the goal, for where they lie in memory.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, timed
from benchmarks.counting import count_dispatched
from twinkle.core.contracts.patch import Journal
from twinkle.core.hookspecs import hookimpl
from twinkle.core.patching import apply_patch
from twinkle.core.runtime.context import current

NUM_LAYERS = 12
ALLOWED = 1.01
"""Time of a step with patches and plugins, of one without."""


@dataclass(frozen=True)
class OwnForwardPatch:
    """Gives one layer the forward pass that it has."""

    layer: torch.nn.Module

    def apply(self, target: Any, journal: Journal) -> None:
        """Patches the layer, whatever the target."""
        journal.setattr(self.layer, "forward", types.MethodType(type(self.layer).forward, self.layer))


class ListeningPlugin:
    """Announces a kernel, and hears of every step."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.num_heard = 0

    @hookimpl
    def twinkle_kernels(self) -> dict[str, str]:
        """One, which nobody asks for."""
        return {f"unused_{self.index}": f"nowhere:Unused{self.index}"}

    @hookimpl
    def twinkle_step_ended(self, step: int) -> None:
        """Counts it."""
        self.num_heard += 1


def patchable(model: Any) -> list[torch.nn.Module]:
    """The layers that are patched: norms, MLPs, attention and projections in the order of the model."""
    return [layer for layer in model.modules() if type(layer).__name__ in ("Qwen3RMSNorm", "Qwen3MLP", "Qwen3Attention", "Linear")]


@dataclass
class Trainee:
    """A model and the step that is timed; what is put on stays until something else is asked for."""

    model: Any
    batch: list[dict[str, Any]]
    worn: str = ""
    plugins: list[ListeningPlugin] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def step(self) -> Any:
        """One training step, its metrics included; returns the loss."""
        output = self.model.forward_backward(inputs=self.batch)
        self.model.clip_grad_and_step()
        self.model.calculate_metric(is_training=True)
        return output["loss"]

    def wear(self, what: str, put_on: Callable[[ExitStack], None]) -> None:
        """Takes off what is worn and puts on ``what``, unless it is that; the first step with it is never timed."""
        if self.worn != what:
            self._stack.close()
            put_on(self._stack)
            self.worn = what
            self.step()

    def put_on_ours(self, count: int, stack: ExitStack) -> None:
        """``count`` patches and as many plugins."""
        registry = current().registry
        for index, layer in enumerate(patchable(self.model.model)[:count]):
            patch: AbstractContextManager[Any] = apply_patch(OwnForwardPatch(layer), self.model.model)
            stack.enter_context(patch)
            plugin = ListeningPlugin(index)
            registry.register(plugin, f"listening-{index}")
            stack.callback(registry.unregister, f"listening-{index}")
            self.plugins.append(plugin)

    def put_on_by_hand(self, count: int, stack: ExitStack) -> None:
        """The same forward passes, set as one does without any of this."""
        for layer in patchable(self.model.model)[:count]:
            layer.forward = types.MethodType(type(layer).forward, layer)
            stack.callback(vars(layer).pop, "forward")


def make_trainee(num_tokens: int) -> Trainee:
    """A small Qwen3 under full training, and one batch of two rows."""
    from transformers import Qwen3Config

    from twinkle.model import TransformersModel

    config = Qwen3Config(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
    )
    torch.manual_seed(0)
    model = TransformersModel(config=config, mixed_precision="no")
    model.set_optimizer("SGD", lr=0.0)  # so that every step is the first one
    ids = torch.randint(0, 512, (2, num_tokens // 2), generator=torch.Generator().manual_seed(0)).tolist()
    return Trainee(model, [{"input_ids": row, "labels": [*row[1:], -100]} for row in ids])


def _case(trainee: Trainee, count: int) -> Case:
    wearers: dict[str, Callable[[ExitStack], None]] = {
        OURS: lambda stack: trainee.put_on_ours(count, stack),
        "none": lambda stack: None,
        "by hand": lambda stack: trainee.put_on_by_hand(count, stack),
    }

    def wear(name: str) -> None:
        trainee.wear(f"{name} {count}", wearers[name])

    def variant(name: str) -> Variant:
        step = timed(trainee.step)

        def run() -> float:
            wear(name)
            return step()

        return run

    def check() -> None:
        losses = {}
        for name in wearers:
            wear(name)
            losses[name] = float(trainee.step())
        assert len(set(losses.values())) == 1, f"the steps differ: {losses}"
        assert all(plugin.num_heard for plugin in trainee.plugins), "a plugin heard of no step"

    def counts() -> list[Count]:
        operations = {}
        for name in wearers:
            wear(name)
            operations[name] = count_dispatched(trainee.step).num_ops
        extra = {name: operations[OURS] - operations[name] for name in ("none", "by hand")}
        return [Count(name=f"aten operations more than {name}", value=value, at_most=0) for name, value in extra.items()]

    return Case(
        name=f"{count} patches and {count} plugins",
        variants={name: variant(name) for name in wearers},
        check=check,
        goals=[Goal(peer=name, at_least=1 / ALLOWED) for name in ("none", "by hand")],
        counts=counts,
    )


def cases(size: Size) -> Iterator[Case]:
    """A step with more and more of them: the ratio stays where it is."""
    trainee = make_trainee(64 if size == "quick" else 256)
    for count in (0, 1, 10, 50):
        yield _case(trainee, count)
        trainee.wear("", lambda stack: None)
        trainee.plugins.clear()
