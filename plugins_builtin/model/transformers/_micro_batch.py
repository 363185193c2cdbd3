"""What a call was given, in parts that go through the model together; and what came of the parts, put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twinkle.core.errors import InvalidArgument, InvalidData
from twinkle.plugins_builtin.model._loss_term import LossTerm, quotient
from twinkle.plugins_builtin.model.transformers._optimizer_group import ForwardResult
from twinkle.plugins_builtin.model.transformers._vocabulary import Fault
from twinkle.plugins_builtin.processor._deferred import Deferred
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch

MicroBatch = tuple[FlatBatch, dict[str, Any]]
"""A part, and its share of the loss arguments."""


def micro_batches(
    inputs: Any,
    size: int | None,
    loss_arguments: Mapping[str, Any],
    encode: Callable[[list[Any]], list[Any]],
    collate: Callable[[list[Any]], Mapping[str, Any]],
    find_fault: Callable[[FlatBatch], Fault | None],
    device: torch.device,
) -> list[MicroBatch]:
    """``inputs`` as flat batches of at most ``size`` samples.

    Args:
        inputs: samples, a single one, a collated batch, or a function that gives one of these.
        size: None for all of them together.
        encode: samples to samples with token ids.
        collate: samples to a batch of tensors.
        find_fault: the first token of a batch that the model does not know.

    Raises:
        InvalidArgument: ``size`` is not positive, or ``inputs`` is nothing of the above.
        InvalidData: there is nothing to train on, or it is not what it should be.
    """
    if size is not None and size < 1:
        raise InvalidArgument(f"micro_batch_size: expected a whole number of 1 or more, got {size}")
    inputs = inputs() if callable(inputs) else inputs  # a lazy handle
    if isinstance(inputs, Mapping) and isinstance(inputs.get("input_ids"), Tensor) and inputs["input_ids"].dim() == 2:
        on_host = FlatBatch.from_mapping(inputs)
        fault = find_fault(on_host)
        if fault is not None:
            raise InvalidData(f"sequence {_part_at(on_host.lengths, fault.position)} of inputs: {fault.reason}")
        parts = on_host.to(device).split(size or on_host.num_sequences)
        return _with_shares(parts, [p.num_sequences for p in parts], loss_arguments)
    samples = encode(_samples(inputs))
    size = size or len(samples)
    chunks = [samples[first : first + size] for first in range(0, len(samples), size)]
    batches = [FlatBatch.from_mapping(collate(chunk)) for chunk in chunks]
    for index, (batch, chunk) in enumerate(zip(batches, chunks, strict=True)):
        fault = find_fault(batch)
        if fault is not None:
            raise InvalidData(f"sample {index * size + _sample_at(batch, chunk, fault.position)} of inputs: {fault.reason}")
    # A batch that was collated has labels whether or not its samples had; those that train something were made by a processor of its own.
    has_labels = any(sample.get("labels") is not None for sample in samples) or any(batch.num_trained_tokens for batch in batches)
    batches = [(batch if has_labels else replace(batch, has_labels=False)).to(device) for batch in batches]
    return _with_shares(batches, [len(chunk) for chunk in chunks], loss_arguments)


def _samples(inputs: Any) -> list[Any]:
    """``inputs``, which is no collated batch, as a list."""
    expected = "expected encoded samples or trajectories (mappings with 'input_ids' or 'messages'), a single one, or a collated batch"
    if isinstance(inputs, Mapping):
        return [inputs]
    if isinstance(inputs, str | bytes | Tensor) or not isinstance(inputs, Iterable):
        raise InvalidArgument(f"inputs: {expected}; got {type(inputs).__name__}")
    samples = list(inputs)
    for index, sample in enumerate(samples):
        if not isinstance(sample, Mapping):
            raise InvalidArgument(f"inputs: {expected}; sample {index} is of type {type(sample).__name__}")
    return samples


def _part_at(lengths: Sequence[int], position: int) -> int:
    """Which of the parts of ``lengths``, one after the other, ``position`` lies in."""
    return int(np.searchsorted(np.cumsum(lengths), position, side="right"))


def _sample_at(batch: FlatBatch, samples: Sequence[Mapping[str, Any]], position: int) -> int:
    """Which of ``samples`` the token at ``position`` of ``batch`` is of; a packed one has several sequences."""
    if batch.num_sequences == len(samples):
        return _part_at(batch.lengths, position)
    return _part_at([FlatBatch.from_features([sample]).num_tokens for sample in samples], position)


def combined(results: Sequence[ForwardResult]) -> Deferred:
    """``loss`` over all results, and their per-token outputs as padded tensors; each is computed when it is read."""
    parts = [result.outputs.computations(result.batch, "padded") for result in results]
    computations: dict[str, Callable[[], Any]] = {
        name: partial(_stacked, [part[name] for part in parts])
        for name in ("logps", "entropies", "logits")
        if all(name in part for part in parts)
    }
    terms = [result.terms for result in results if result.terms]
    return Deferred({**computations, "loss": partial(_mean_loss, terms)} if terms else computations)


def _stacked(parts: Sequence[Callable[[], Tensor]]) -> Tensor:
    """``[S_m, L_m, ...]`` one below the other, those that are shorter padded with 0."""
    padded = [part() for part in parts]
    longest = max(p.shape[1] for p in padded)
    filled = [torch.nn.functional.pad(p, (*(0,) * (2 * (p.dim() - 2)), 0, longest - p.shape[1])) for p in padded]
    return torch.cat(filled)


def _mean_loss(terms: Sequence[tuple[LossTerm, ...]]) -> float:
    """Each term's totals of all micro-batches over its denominators, added up."""
    loss = 0.0
    for of_term in zip(*terms, strict=True):
        totals = torch.stack([term.total.detach() for term in of_term])
        denominators = torch.stack([term.denominator for term in of_term])
        loss += float(quotient(totals.sum(dtype=torch.float64), denominators.sum()))
    return loss


def _with_shares(batches: Sequence[FlatBatch], num_samples: Sequence[int], arguments: Mapping[str, Any]) -> list[MicroBatch]:
    """Each batch with its part of those arguments that have one value a sample."""
    total = sum(num_samples)
    shared, first = [], 0
    for batch, count in zip(batches, num_samples, strict=True):
        share = {
            name: value[first : first + count] if isinstance(value, list | tuple | Tensor) and len(value) == total else value
            for name, value in arguments.items()
        }
        shared.append((batch, share))
        first += count
    return shared
