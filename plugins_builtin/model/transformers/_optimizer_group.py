"""Everything that belongs to one set of trained parameters: an adapter, or the whole model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.core.signature import named_parameters, takes_any_keyword
from twinkle.core.suggestion import did_you_mean
from twinkle.core.types import IGNORE_INDEX
from twinkle.plugins_builtin.model._loss_term import LossTerm, loss_terms, mean_of
from twinkle.plugins_builtin.model._step_engine import StepEngine
from twinkle.plugins_builtin.model.transformers._forward import FlatOutputs, Layout, Needs, input_mapping
from twinkle.plugins_builtin.processor._deferred import Deferred
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch

Metrics = dict[str, Any]


@dataclass
class ForwardResult:
    """One forward pass and, once calculated, its loss."""

    batch: FlatBatch
    outputs: FlatOutputs
    terms: tuple[LossTerm, ...] = ()

    def detached(self) -> ForwardResult:
        """The same without graph, for metrics."""
        outputs = FlatOutputs(*(None if v is None else v.detach() for v in (getattr(self.outputs, name) for name in FlatOutputs.__slots__)))
        terms = tuple(LossTerm(t.total.detach(), t.denominator, t.domain) for t in self.terms)
        return ForwardResult(self.batch, outputs, terms)


@dataclass(kw_only=True)
class OptimizerGroup:
    """Loss, optimizer, schedule, template, processor and metrics of ``adapter_name``; "" is the whole model."""

    adapter_name: str
    named_parameters: dict[str, torch.nn.Parameter]
    engine: StepEngine
    loss: Callable[..., Any]
    loss_name: str
    processor: Callable[..., Any]
    template: Any = None
    optimizer: Any = None
    lr_scheduler: Any = None
    train_metrics: list[Any] = field(default_factory=list)
    eval_metrics: list[Any] = field(default_factory=list)
    provenance: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of every component of the group, by its role."""
    last: ForwardResult | None = None
    """The forward pass that ``calculate_loss`` and ``backward`` go on with."""
    pending: list[tuple[ForwardResult, dict[str, Any]]] = field(default_factory=list)
    """Passes of the open window that training metrics have not seen yet: they wait for the gradient norm of its step."""
    grad_norm: Tensor | None = None
    lr_step_is_due: bool = False
    """True from an optimizer step to the step of the schedule; an optimizer step that float16 left out makes none due."""
    warned_of_schedule: bool = False

    # ---- loss

    def needs(self, metrics: Sequence[Any]) -> Needs:
        """What a forward pass must give for the loss and ``metrics``."""
        return Needs.of([self.loss, *metrics])

    @property
    def loss_reads_logps(self) -> bool:
        """Whether the loss reads the log-probabilities of labels, which are then token ids."""
        return Needs.of([self.loss]).logps

    @property
    def ignore_index(self) -> int:
        """The label that the loss does not count, where it has one of its own beside -100."""
        index: int = getattr(self.loss, "ignore_index", IGNORE_INDEX)
        return index

    @property
    def layout(self) -> Layout:
        """The layout that the loss reads; a plain function reads padded tensors."""
        layout: Layout = getattr(self.loss, "layout", "padded")
        return layout

    def check_labels(self, batch: FlatBatch) -> None:
        """Raises :class:`InvalidData` where ``batch`` came without labels and the loss has nothing else to go by.

        Labels that are all -100 are another matter: a data rank may get such a part of a batch, and trains nothing with it.
        """
        needs = Needs.of([self.loss])
        if needs.logps and not needs.logits and not batch.has_labels:
            raise InvalidData(
                f"no sample of inputs has 'labels', so there is nothing to train on: loss {self.loss_name!r} reads the log-probabilities "
                "of labels. Give labels (at position i the id of the token after it; -100 is not trained), or trajectories, which the "
                "template encodes; a loss that needs none says so by require_logps = False or require_logits = True"
            )

    def check_loss_arguments(self, given: Mapping[str, Any], own: Sequence[str]) -> None:
        """Raises :class:`InvalidArgument` where neither the loss nor the method (whose own arguments are ``own``) takes a name."""
        if not given or takes_any_keyword(self.loss):
            return
        known = list(named_parameters(self.loss))[2:]
        for name in given:
            if name not in known:
                raise InvalidArgument(f"neither the method nor loss {self.loss_name!r} takes {name!r}.{did_you_mean(name, [*known, *own])}")

    def evaluate_loss(self, result: ForwardResult, arguments: Mapping[str, Any]) -> None:
        """Calculates the terms of ``result``."""
        inputs = input_mapping(result.batch, self.layout)
        outputs = result.outputs.mapping(result.batch, self.layout)
        terms = loss_terms(self.loss(inputs, outputs, **arguments), result.batch, self.loss_name)
        if result.outputs.aux_loss is not None:
            terms = (*terms, *loss_terms(result.outputs.aux_loss, result.batch, "auxiliary loss"))
        result.terms = terms

    # ---- metrics

    def begin_backward(self) -> None:
        """A new window shows the metrics what is left of the one before, where its step was never made."""
        if self.engine.is_between_windows:
            self.flush()

    def feed(self, metrics: Sequence[Any], result: ForwardResult, arguments: Mapping[str, Any]) -> None:
        """Gives ``result`` to ``metrics``, with those further arguments that each of them names."""
        inputs = input_mapping(result.batch, "padded")
        computations: dict[str, Callable[[], Tensor]] = result.outputs.computations(result.batch, "padded")
        if result.terms:
            num_tokens = result.terms[0].denominator
            computations |= {"num_tokens": lambda: num_tokens, "loss": lambda: mean_of(result.terms) * num_tokens}
        outputs = Deferred(computations)
        offered = {
            "lr": None if self.optimizer is None else [_rate(g["lr"]) for g in self.optimizer.param_groups],
            "step": self.engine.num_steps,
            "gradient_accumulation_steps": self.engine.gradient_accumulation_steps,
            "grad_norm": self.grad_norm if metrics is self.train_metrics else None,
            **arguments,
        }
        for metric in metrics:
            accumulate = metric.accumulate
            names = offered if takes_any_keyword(accumulate) else named_parameters(accumulate)
            accumulate(inputs, outputs, **{name: value for name, value in offered.items() if name in names})

    def flush(self) -> None:
        """Gives the training metrics what they have not seen yet."""
        for result, arguments in self.pending:
            self.feed(self.train_metrics, result, arguments)
        self.pending.clear()

    def calculate(self, is_training: bool) -> Metrics:
        """The values of all metrics, which are reset."""
        if is_training:
            self.flush()
        metrics = self.train_metrics if is_training else self.eval_metrics
        values: Metrics = {}
        for metric in metrics:
            values.update(metric.calculate())
            metric.reset()
        return values

    # ---- schedule

    def unfinished_schedule(self) -> str | None:
        """A warning, once, where the schedule was given as many steps as there were batches, of which accumulation makes fewer steps.

        Only the end of the data shows the mistake, and nobody here knows where the data ends: so it is told where the numbers are equal.
        """
        planned = getattr(self.lr_scheduler, "num_training_steps", None)
        batches, steps = self.engine.num_backward, self.engine.num_steps
        if self.warned_of_schedule or planned != batches or steps >= batches:
            return None
        self.warned_of_schedule = True
        return (
            f"the learning-rate schedule was given num_training_steps={planned}; {batches} batches made {steps} optimizer steps, which "
            f"is what a schedule counts. If the data ends here it has not finished: pass num_training_steps={steps}"
        )


def _rate(lr: float | Tensor) -> float | Tensor:
    """``lr`` as it is now; one that is a tensor (of a capturable optimizer) changes in place and is not waited for."""
    return lr.clone() if isinstance(lr, Tensor) else float(lr)
