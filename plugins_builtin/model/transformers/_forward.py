"""The forward pass: a flat batch in, per-token outputs out, in the layout that a loss or metric asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinkle.plugins_builtin.model.transformers._varlen_attention import AttentionPlan
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch

Attention = Literal["varlen", "packed", "padded"]
"""How the model attends: by our plan; by its own implementation, which finds the boundaries in the positions; or on a padded view."""

_DECLARATIONS = ("require_logits", "require_logps", "require_entropy", "require_predictions")


@dataclass(frozen=True, slots=True)
class Needs:
    """What the loss and the metrics of a step read."""

    logits: bool = False
    logps: bool = True
    entropies: bool = False
    predictions: bool = False

    @classmethod
    def of(cls, components: Iterable[object]) -> Needs:
        """The union of what ``components`` declare by ``require_...``; a plain function declares nothing and reads log-probabilities."""
        declaring = tuple(components)
        declared = {name: any(getattr(c, name, name == "require_logps") for c in declaring) for name in _DECLARATIONS}
        return cls(*declared.values())


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
    """Load-balancing loss of a mixture of experts."""

    def mapping(self, batch: FlatBatch, layout: Literal["flat", "padded"]) -> dict[str, Any]:
        """The outputs as a loss reads them: ``[1, T]``, or ``[S, max_length]`` padded with 0."""
        named = {"logps": self.logps_T, "entropies": self.entropies_T, "predictions": self.predictions_T, "logits": self.logits_TV}
        fill = {"predictions": -1}
        shaped: dict[str, Any] = {
            name: values[None] if layout == "flat" else batch.pad(values, fill.get(name, 0))
            for name, values in named.items()
            if values is not None
        }
        return shaped if self.aux_loss is None else {**shaped, "aux_loss": self.aux_loss}


def input_mapping(batch: FlatBatch, layout: Literal["flat", "padded"]) -> dict[str, Any]:
    """The inputs as a loss or a metric reads them."""
    return batch.flat() if layout == "flat" else dict(batch.padded())


def run_forward(
    model: torch.nn.Module, base: PreTrainedModel, batch: FlatBatch, needs: Needs, attention: Attention, temperature: float
) -> FlatOutputs:
    """One forward pass of ``model`` (``base``, perhaps wrapped) over ``batch``.

    Only labelled positions go through the output projection, unless all logits are asked for.
    """
    if attention == "padded":
        outputs = _padded_outputs(model, batch)
        logits_TV = outputs["logits"][batch.padded()["attention_mask"].bool()]
        return _token_outputs(logits_TV, None, batch, needs, outputs, temperature)
    index = None if needs.logits or not _keeps_logits(type(base).forward) else _positions(batch)
    arguments: dict[str, Any] = {"input_ids": batch.input_ids_T[None], "position_ids": batch.position_ids_T[None], "use_cache": False}
    if index is not None:
        arguments["logits_to_keep"] = index
    if attention == "varlen":
        arguments["attention_plan"] = AttentionPlan.of(batch.lengths, batch.input_ids_T.device)
    outputs = model(**arguments)
    return _token_outputs(outputs["logits"][0], index, batch, needs, outputs, temperature)


def _padded_outputs(model: torch.nn.Module, batch: FlatBatch) -> Any:
    view = batch.padded()
    return model(input_ids=view["input_ids"], attention_mask=view["attention_mask"], use_cache=False)


def _positions(batch: FlatBatch) -> Tensor:
    """The labelled positions; the first one where there is none, so that the loss keeps its graph."""
    return batch.trained_index if batch.num_trained_tokens else torch.zeros(1, dtype=torch.int64, device=batch.input_ids_T.device)


def _token_outputs(
    logits_NV: Tensor, index: Tensor | None, batch: FlatBatch, needs: Needs, outputs: Mapping[str, Any], temperature: float
) -> FlatOutputs:
    """Per-token values from the logits at ``index`` (at all positions where it is None)."""
    logits_TV = logits_NV if needs.logits else None
    if index is None:
        index = _positions(batch)
        logits_NV = logits_NV.index_select(0, index)
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    wide_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    labels_N = batch.labels_T.index_select(0, index).clamp(min=0)
    logsumexp_N = wide_NV.logsumexp(dim=-1)
    logps_N = wide_NV.gather(-1, labels_N[:, None])[:, 0] - logsumexp_N

    def spread(values_N: Tensor, fill: float = 0.0) -> Tensor:
        return values_N.new_full((batch.num_tokens,), fill).index_copy(0, index, values_N)

    return FlatOutputs(
        logps_T=spread(logps_N),
        entropies_T=spread(_entropy(wide_NV, logsumexp_N)) if needs.entropies else None,
        predictions_T=spread(wide_NV.argmax(-1), -1) if needs.predictions else None,
        logits_TV=logits_TV,
        aux_loss=outputs.get("aux_loss"),
    )


def _entropy(logits_NV: Tensor, logsumexp_N: Tensor) -> Tensor:
    """``logsumexp(z) - sum softmax(z) z`` of each row."""
    return logsumexp_N - ((logits_NV - logsumexp_N[:, None]).exp() * logits_NV).sum(-1)


@cache
def _keeps_logits(forward: Callable[..., Any]) -> bool:
    return "logits_to_keep" in inspect.signature(forward).parameters
