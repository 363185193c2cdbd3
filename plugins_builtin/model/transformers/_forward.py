"""The forward pass: a flat batch in, per-token outputs out, in the layout that a loss or metric asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinkle.kernels.linear_logprob import TokenDistribution, check_temperature, linear_logprob
from twinkle.plugins_builtin.model.transformers._output_projection import hidden_states_as_logits
from twinkle.plugins_builtin.model.transformers._varlen_attention import AttentionPlan
from twinkle.plugins_builtin.processor._deferred import Deferred
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch

Attention = Literal["varlen", "packed", "padded"]
"""How the model attends: by our plan; by its own implementation, which finds the boundaries in the positions; or on a padded view."""

Layout = Literal["flat", "padded"]

_DECLARATIONS = ("require_logits", "require_logps", "require_entropy", "require_predictions")


@dataclass(frozen=True, slots=True)
class Needs:
    """What the loss and the metrics of a step read."""

    logits: bool = False
    logps: bool = True
    entropies: bool = False
    predictions: bool = False
    chunk_size: int | None = None
    """Tokens whose logits may exist at a time, where one of the components says."""

    @classmethod
    def of(cls, components: Iterable[object]) -> Needs:
        """The union of what ``components`` declare by ``require_...``; a plain function declares nothing and reads log-probabilities."""
        declaring = tuple(components)
        declared = {name: any(getattr(c, name, name == "require_logps") for c in declaring) for name in _DECLARATIONS}
        sizes = [size for c in declaring if (size := getattr(c, "chunk_size", None)) is not None]
        logits, logps, entropies, predictions = declared.values()
        return cls(logits, logps, entropies, predictions, min(sizes, default=None))


@dataclass(frozen=True, slots=True)
class FlatOutputs:
    """Per-token outputs of a flat batch; what a step does not need is None. Values at unlabelled positions are 0."""

    logps_T: Tensor | None = None
    """Log-probability of each label, in nats, float32 or wider."""
    entropies_T: Tensor | None = None
    """Entropy of the distribution at each labelled position, in nats."""
    predictions_T: Tensor | None = None
    """The likeliest token at each labelled position; -1 elsewhere."""
    logits_TV: Tensor | None = None
    aux_loss: Tensor | None = None
    """Load-balancing loss of a mixture of experts, times its coefficient, as transformers adds it to a loss of its own."""

    def computations(self, batch: FlatBatch, layout: Layout) -> dict[str, Callable[[], Tensor]]:
        """How each output is made as a loss reads it: ``[1, T]``, or ``[S, max_length]`` padded with 0."""
        named = {"logps": self.logps_T, "entropies": self.entropies_T, "predictions": self.predictions_T, "logits": self.logits_TV}
        return {name: partial(_shaped, values, batch, layout, _FILL.get(name, 0)) for name, values in named.items() if values is not None}

    def mapping(self, batch: FlatBatch, layout: Layout) -> Deferred:
        """The outputs as a loss reads them."""
        shaped = self.computations(batch, layout)
        return Deferred(shaped if self.aux_loss is None else {**shaped, "aux_loss": lambda: self.aux_loss})


_FILL = {"predictions": -1}


def _shaped(values_T: Tensor, batch: FlatBatch, layout: Layout, fill: float) -> Tensor:
    return values_T[None] if layout == "flat" else batch.pad(values_T, fill)


def input_mapping(batch: FlatBatch, layout: Layout) -> Mapping[str, Any]:
    """The inputs as a loss or a metric reads them."""
    return batch.flat() if layout == "flat" else batch.padded()


def run_forward(
    model: torch.nn.Module,
    base: PreTrainedModel,
    batch: FlatBatch,
    needs: Needs,
    attention: Attention,
    projection: torch.nn.Linear | None,
    temperature: float,
) -> FlatOutputs:
    """One forward pass of ``model`` (``base``, perhaps wrapped) over ``batch``.

    Only labelled positions go through the output projection, and where it is separable (``projection``) only some of them at a time, unless
    all logits are asked for.

    Raises:
        InvalidArgument: a temperature that is not a finite number above 0.
    """
    check_temperature(temperature)
    if attention == "padded":
        outputs = _padded_outputs(model, batch)
        logits_TV = outputs["logits"].flatten(0, 1).index_select(0, batch.padded_index)
        return _from_logits(logits_TV, None, batch, needs, _aux_loss(base, outputs), temperature)
    index = None if needs.logits or not _keeps_logits(type(base).forward) else _positions(batch)
    arguments = flat_arguments(batch, attention)
    if index is not None:
        arguments["logits_to_keep"] = index
    if index is None or projection is None:
        outputs = model(**arguments)
        return _from_logits(outputs["logits"][0], index, batch, needs, _aux_loss(base, outputs), temperature)
    with hidden_states_as_logits(projection):
        outputs = model(**arguments)
    seen = linear_logprob(
        outputs["logits"][0],
        projection.weight,
        batch.labels_T.index_select(0, index).clamp(min=0),
        projection.bias,
        temperature=temperature,
        with_entropy=needs.entropies,
        with_argmax=needs.predictions,
        chunk_size=needs.chunk_size,
    )
    return _at_positions(seen, index, batch, None, _aux_loss(base, outputs))


def flat_arguments(batch: FlatBatch, attention: Attention) -> dict[str, Any]:
    """What a model is called with that attends to flat batches."""
    arguments: dict[str, Any] = {"input_ids": batch.input_ids_T[None], "position_ids": batch.position_ids_T[None], "use_cache": False}
    if attention == "varlen":
        arguments["attention_plan"] = AttentionPlan.of(batch.lengths, batch.device)
    return arguments


def _padded_outputs(model: torch.nn.Module, batch: FlatBatch) -> Any:
    view = batch.padded()
    return model(input_ids=view["input_ids"], attention_mask=view["attention_mask"], use_cache=False)


def _aux_loss(base: PreTrainedModel, outputs: Mapping[str, Any]) -> Tensor | None:
    aux_loss = outputs.get("aux_loss")
    return None if aux_loss is None else base.router_aux_loss_coef * aux_loss


def _positions(batch: FlatBatch) -> Tensor:
    """The labelled positions; where there is none a placeholder, the first one, so that the loss keeps its graph."""
    return batch.trained_index if batch.num_trained_tokens else torch.zeros(1, dtype=torch.int64, device=batch.device)


def _from_logits(
    logits_NV: Tensor, index: Tensor | None, batch: FlatBatch, needs: Needs, aux_loss: Tensor | None, temperature: float
) -> FlatOutputs:
    """Per-token values from the logits at ``index`` (at all positions where it is None)."""
    logits_TV = logits_NV if needs.logits else None
    if index is None:
        index = _positions(batch)
        logits_NV = logits_NV.index_select(0, index)
    scaled_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)) / temperature
    logps_NV = torch.log_softmax(scaled_NV, dim=-1)
    labels_N = batch.labels_T.index_select(0, index).clamp(min=0)
    seen = TokenDistribution(
        logps_N=logps_NV.gather(-1, labels_N[:, None])[:, 0],
        entropies_N=-(logps_NV.exp() * logps_NV).sum(-1) if needs.entropies else None,
        argmax_N=scaled_NV.argmax(-1) if needs.predictions else None,
    )
    return _at_positions(seen, index, batch, logits_TV, aux_loss)


def _at_positions(
    seen: TokenDistribution, index: Tensor, batch: FlatBatch, logits_TV: Tensor | None, aux_loss: Tensor | None
) -> FlatOutputs:
    def spread(values_N: Tensor | None, fill: float = 0.0) -> Tensor | None:
        if values_N is None:
            return None
        spread_T = values_N.new_full((batch.num_tokens,), fill)
        if not batch.num_trained_tokens:
            return spread_T.index_copy(0, index[:0], values_N[:0])  # nothing of the placeholder but its graph
        return spread_T.index_copy(0, index, values_N)

    return FlatOutputs(
        logps_T=spread(seen.logps_N),
        entropies_T=spread(seen.entropies_N),
        predictions_T=spread(seen.argmax_N, -1),
        logits_TV=logits_TV,
        aux_loss=aux_loss,
    )


@cache
def _keeps_logits(forward: Callable[..., Any]) -> bool:
    return "logits_to_keep" in inspect.signature(forward).parameters
