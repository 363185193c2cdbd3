"""The internal form of a batch: all tokens of all sequences one after the other, and where each sequence begins.

A packed row, a padded batch and a list of samples all become the same flat batch, so that nothing downstream depends on how samples came
together. Sequence boundaries are known on the host, so that no step waits for the device to learn a shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twinkle.core.errors import InvalidData
from twinkle.core.types import IGNORE_INDEX
from twinkle.plugins_builtin.processor._deferred import Deferred

TOKEN_COLUMNS = ("completion_mask", "loss_scale")
"""Columns beside ids, positions and labels that have one value a token and reach losses and metrics."""

_PADDING = {"input_ids": 0, "labels": IGNORE_INDEX, "position_ids": -1, "attention_mask": 0, "completion_mask": 0, "loss_scale": 0}


@dataclass(frozen=True, eq=False)
class FlatBatch:
    """``S`` sequences with ``T`` tokens in all, on one device."""

    input_ids_T: Tensor
    """int64."""
    position_ids_T: Tensor
    """int64, from 0 in each sequence."""
    labels_T: Tensor
    """int64, shifted: the target of each position, -100 where none."""
    lengths: tuple[int, ...]
    """Tokens of each sequence, on the host."""
    trained: npt.NDArray[np.int64]
    """``[N]``, on the host: the positions with a label, in order."""
    token_columns: Mapping[str, Tensor] = field(default_factory=dict)
    """More ``[T]`` columns, see :data:`TOKEN_COLUMNS`."""
    has_labels: bool = True
    """Whether any sample came with labels, be they all -100."""

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.input_ids_T.device

    @property
    def num_sequences(self) -> int:
        """S."""
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.input_ids_T.shape[0]

    @property
    def num_trained_tokens(self) -> int:
        """N: how many positions have a label."""
        return self.trained.size

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.lengths)

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """int32 ``[S + 1]``: where each sequence begins, and the end."""
        return to_device(np.array([0, *accumulate(self.lengths)], dtype=np.int32), self.device)

    @cached_property
    def trained_index(self) -> Tensor:
        """int64 ``[N]``: :attr:`trained` on the device."""
        return to_device(self.trained, self.device)

    @cached_property
    def padded_index(self) -> Tensor:
        """int64 ``[T]``: the place of each token in a padded view ``[S * max_length]``."""
        lengths = np.array(self.lengths)
        shifts = np.arange(lengths.size) * self.max_length - (np.cumsum(lengths) - lengths)
        return to_device(np.arange(self.num_tokens) + np.repeat(shifts, lengths), self.device)

    def pad(self, values_T: Tensor, fill: float) -> Tensor:
        """``values_T`` (``[T, ...]``) as ``[S, max_length, ...]``, right-padded with ``fill``; differentiable."""
        places = (self.num_sequences * self.max_length, *values_T.shape[1:])
        padded = values_T.new_full(places, fill).index_copy_(0, self.padded_index, values_T)
        return padded.view(self.num_sequences, self.max_length, *values_T.shape[1:])

    def padded(self) -> Mapping[str, Tensor]:
        """The batch as ``[S, max_length]`` tensors, for a model or a loss that needs them; each made when it is read."""
        columns = {name: partial(self.pad, values, _PADDING[name]) for name, values in self._columns().items()}
        return Deferred({**columns, "attention_mask": lambda: self.pad(torch.ones_like(self.input_ids_T), 0)})

    def flat(self) -> dict[str, Any]:
        """The batch as ``[1, T]`` tensors with ``cu_seqlens``."""
        return {**{name: values[None] for name, values in self._columns().items()}, "cu_seqlens": self.cu_seqlens}

    def _columns(self) -> dict[str, Tensor]:
        return {"input_ids": self.input_ids_T, "position_ids": self.position_ids_T, "labels": self.labels_T, **self.token_columns}

    def to(self, device: torch.device) -> FlatBatch:
        """The batch, which lies on the CPU, on ``device``; copied so that the host does not wait for it."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            input_ids_T=to_device(self.input_ids_T.numpy(), device),
            position_ids_T=to_device(self.position_ids_T.numpy(), device),
            labels_T=to_device(self.labels_T.numpy(), device),
            token_columns={name: to_device(values.numpy(), device) for name, values in self.token_columns.items()},
        )

    def split(self, num_sequences: int) -> list[FlatBatch]:
        """Consecutive batches of at most ``num_sequences`` sequences, views of this one."""
        if num_sequences >= self.num_sequences:
            return [self]
        starts = [0, *accumulate(self.lengths)]
        parts = []
        for first in range(0, self.num_sequences, num_sequences):
            lengths = self.lengths[first : first + num_sequences]
            begin, end = starts[first], starts[first + len(lengths)]
            parts.append(
                FlatBatch(
                    input_ids_T=self.input_ids_T[begin:end],
                    position_ids_T=self.position_ids_T[begin:end],
                    labels_T=self.labels_T[begin:end],
                    lengths=lengths,
                    trained=self.trained[slice(*np.searchsorted(self.trained, (begin, end)))] - begin,
                    token_columns={name: values[begin:end] for name, values in self.token_columns.items()},
                    has_labels=self.has_labels,
                )
            )
        return parts

    @classmethod
    def from_features(cls, features: Sequence[Mapping[str, Any]], device: torch.device | str = "cpu") -> FlatBatch:
        """The batch of encoded samples (lists, arrays or tensors). A packed sample counts as the sequences that its positions show.

        Raises:
            InvalidData: there is no sample, or one that is empty, not encoded, or whose columns differ in length.
        """
        if not features:
            raise InvalidData("an empty batch: expected one encoded sample or more")
        rows = [_Row.of(feature, index) for index, feature in enumerate(features)]
        names = [name for name in TOKEN_COLUMNS if any(name in row.columns for row in rows)]
        for name in names:
            without = [row.index for row in rows if name not in row.columns]
            if without:
                raise InvalidData(f"sample {without[0]} of the batch has no {name!r}, but others do: give it to all of them or to none")
        lengths = tuple(length for row in rows for length in row.lengths)
        labels = np.concatenate([row.labels for row in rows])
        return cls(
            input_ids_T=to_device(np.concatenate([row.input_ids for row in rows]), device),
            position_ids_T=to_device(np.concatenate([row.position_ids for row in rows]), device),
            labels_T=to_device(labels, device),
            lengths=lengths,
            trained=np.flatnonzero(labels != IGNORE_INDEX),
            token_columns={name: to_device(np.concatenate([row.columns[name] for row in rows]), device) for name in names},
            has_labels=any(row.has_labels for row in rows),
        )

    @classmethod
    def from_mapping(cls, batch: Mapping[str, Any], device: torch.device | str = "cpu") -> FlatBatch:
        """The flat form of a collated batch, padded (``[B, L]``) or flat (``[1, T]``); a row may hold several sequences.

        Raises:
            InvalidData: ``input_ids`` is missing or not two-dimensional.
        """
        ids = batch.get("input_ids")
        if not isinstance(ids, Tensor) or ids.dim() != 2:
            got = f"of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise InvalidData(
                f"a collated batch: expected 'input_ids' as a [batch, length] tensor, got {got}; its columns are {sorted(batch)}"
            )
        # From here on in numpy: rows are cut by masks, which as tensors would make the host wait for the device at each of them.
        names = [name for name in ("input_ids", "labels", "position_ids", "attention_mask", *TOKEN_COLUMNS) if batch.get(name) is not None]
        columns = {name: _host(batch[name]) for name in names}
        mask = columns.pop("attention_mask", None)
        if mask is None and "position_ids" in columns:
            mask = columns["position_ids"] >= 0
        rows = []
        for index in range(ids.shape[0]):
            row = {name: values[index] for name, values in columns.items()}
            rows.append(row if mask is None else {name: values[mask[index].astype(bool)] for name, values in row.items()})
        return cls.from_features(rows, device)


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    input_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    lengths: tuple[int, ...]
    columns: dict[str, npt.NDArray[Any]]
    has_labels: bool

    @classmethod
    def of(cls, feature: Mapping[str, Any], index: int) -> _Row:
        if feature.get("input_ids") is None:
            raise InvalidData(f"sample {index} of the batch has no 'input_ids' (its columns: {sorted(feature)}); encode the data set first")
        ids = _array(feature["input_ids"], np.int64)
        if ids.size == 0:
            raise InvalidData(f"sample {index} of the batch has no token")
        mask = feature.get("attention_mask")
        kept = _array(mask, np.int64).astype(bool) if mask is not None else None
        if kept is not None and kept.shape == ids.shape and not kept.all():
            return cls.of({k: v if k == "attention_mask" else _kept(v, kept) for k, v in feature.items() if k != "attention_mask"}, index)
        positions = feature.get("position_ids")
        position_ids = np.arange(ids.size) if positions is None else _array(positions, np.int64)
        labels = feature.get("labels")
        labels_array = np.full(ids.size, IGNORE_INDEX) if labels is None else _array(labels, np.int64)
        columns = {name: _array(feature[name], None) for name in TOKEN_COLUMNS if feature.get(name) is not None}
        for name, values in {"position_ids": position_ids, "labels": labels_array, **columns}.items():
            if values.shape != ids.shape:
                raise InvalidData(f"sample {index} of the batch: {name!r} has shape {values.shape}, but 'input_ids' has {ids.shape}")
        starts = np.flatnonzero(position_ids == 0)
        if starts.size == 0 or starts[0] != 0:
            raise InvalidData(f"sample {index} of the batch: 'position_ids' must begin with 0, got {position_ids[:4].tolist()} ...")
        lengths = tuple(np.diff(np.append(starts, ids.size)).tolist())
        return cls(index, ids, position_ids, labels_array, lengths, columns, labels is not None)


def _host(values: Any) -> npt.NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _array(values: Any, dtype: type[np.int64] | None) -> npt.NDArray[Any]:
    return np.asarray(_host(values), dtype=dtype).reshape(-1)


def _kept(values: Any, kept: npt.NDArray[np.bool_]) -> Any:
    """``values`` at the kept tokens where it has one value a token, else as it is."""
    if isinstance(values, list | tuple | np.ndarray | Tensor) and len(values) == kept.size:
        return _array(values, None)[kept]
    return values


def to_device(values: npt.NDArray[Any], device: torch.device | str) -> Tensor:
    """``values`` as a tensor, copied so that the host does not wait for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
