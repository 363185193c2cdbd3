"""Batches of random sequences for losses and metrics: padded, flat, split, in another order, and with more padding than needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from twinkle.core.types import IGNORE_INDEX

if TYPE_CHECKING:
    from torch import Generator, Tensor

VOCABULARY = 7
Layout = Literal["padded", "flat"]


@dataclass(frozen=True, kw_only=True)
class SequenceColumns:
    """One sequence: tensors of shape ``[T, ...]``; arguments of a whole sequence have shape ``[]``."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    arguments: Mapping[str, Tensor] = field(default_factory=dict)
    """What the component names beside inputs and outputs: ``old_logps``, ``advantages`` ..."""

    @property
    def length(self) -> int:
        """T."""
        return int(self.inputs["labels"].shape[0])

    @property
    def is_trained_T(self) -> Tensor:
        """Where there is a label."""
        return self.inputs["labels"] != IGNORE_INDEX

    def without_labels(self) -> SequenceColumns:
        """The same sequence with nothing trained."""
        labels = self.inputs["labels"]
        return replace(self, inputs={**self.inputs, "labels": labels.new_full(labels.shape, IGNORE_INDEX)})


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a component is called with."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    arguments: dict[str, Any]
    num_sequences: int


def token_sequence(generator: Generator, length: int, argument_names: Sequence[str] = ()) -> SequenceColumns:
    """A random sequence in float64: about half of its positions are trained, the last but one always is, the last never.

    Its outputs fit together: ``logps`` are those of the labels under ``logits``, 0 where there is no label.
    """
    import torch

    labels = torch.randint(0, VOCABULARY, (length,), generator=generator)
    labels[torch.rand(length, generator=generator) < 0.5] = IGNORE_INDEX
    labels[-2:] = torch.tensor([int(torch.randint(0, VOCABULARY, (), generator=generator)), IGNORE_INDEX])
    is_trained = labels != IGNORE_INDEX
    logits = torch.randn(length, VOCABULARY, generator=generator, dtype=torch.float64)
    log_probabilities = logits.log_softmax(-1)
    logps = log_probabilities.gather(-1, labels.clamp(min=0)[:, None])[:, 0] * is_trained
    known = {
        "old_logps": logps + 0.1 * torch.randn(length, generator=generator, dtype=torch.float64) * is_trained,
        "ref_logps": logps + 0.1 * torch.randn(length, generator=generator, dtype=torch.float64) * is_trained,
        "advantages": torch.randn((), generator=generator, dtype=torch.float64),
    }
    return SequenceColumns(
        inputs={
            "input_ids": torch.randint(0, VOCABULARY, (length,), generator=generator),
            "position_ids": torch.arange(length),
            "labels": labels,
        },
        outputs={
            "logits": logits,
            "logps": logps,
            "entropies": -(log_probabilities.exp() * log_probabilities).sum(-1) * is_trained,
            "predictions": logits.argmax(-1),
        },
        arguments={name: known[name] for name in argument_names if name in known},
    )


def collate(sequences: Sequence[SequenceColumns], layout: Layout, num_extra_columns: int = 0) -> Batch:
    """The batch of ``sequences``: ``[B, T]`` right-padded (and ``num_extra_columns`` wider than it has to be), or ``[1, sum T]``."""
    import torch

    inputs, outputs, arguments = (
        _join(columns, layout, num_extra_columns)
        for columns in ([s.inputs for s in sequences], [s.outputs for s in sequences], [s.arguments for s in sequences])
    )
    if layout == "flat":
        inputs["cu_seqlens"] = torch.tensor([0, *(s.length for s in sequences)]).cumsum(0).to(torch.int32)
    else:
        inputs["attention_mask"] = (inputs["position_ids"] >= 0).long()
    return Batch(inputs=inputs, outputs=outputs, arguments=arguments, num_sequences=len(sequences))


def _join(columns: Sequence[Mapping[str, Tensor]], layout: Layout, num_extra_columns: int) -> dict[str, Any]:
    """One batch of each column; one number a sequence stays one number a sequence."""
    import torch

    joined: dict[str, Any] = {}
    for name in columns[0]:
        values = [one[name] for one in columns]
        if values[0].dim() == 0:
            joined[name] = torch.stack(values)
        elif layout == "flat":
            joined[name] = torch.cat(values)[None]
        else:
            width = max(len(value) for value in values) + num_extra_columns
            joined[name] = torch.stack([_pad(value, width, name) for value in values])
    return joined


def _pad(values: Tensor, width: int, name: str) -> Tensor:
    padded = values.new_full((width, *values.shape[1:]), {"labels": IGNORE_INDEX, "position_ids": -1}.get(name, 0))
    padded[: values.shape[0]] = values
    return padded
