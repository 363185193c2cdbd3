"""The internal form of a batch: all tokens of all sequences one after the other, and where each sequence begins.

A packed row, a padded batch and a list of samples all become the same flat batch, so that nothing downstream depends on how samples came
together. Sequence boundaries are known on the host, so that no step waits for the device to learn a shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from twinkle.core.errors import InvalidData
from twinkle.core.types import IGNORE_INDEX

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
    trained_index: Tensor
    """int64 ``[N]``: the positions with a label, in order."""
    token_columns: Mapping[str, Tensor] = field(default_factory=dict)
    """More ``[T]`` columns, see :data:`TOKEN_COLUMNS`."""

    @property
    def num_sequences(self) -> int:
        """S."""
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """T."""
        return sum(self.lengths)

    @property
    def num_trained_tokens(self) -> int:
        """N: how many positions have a label."""
        return self.trained_index.shape[0]

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.lengths)

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """int32 ``[S + 1]``: where each sequence begins, and the end."""
        return torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32, device=self.input_ids_T.device)

    @cached_property
    def _is_token_BT(self) -> Tensor:
        lengths = torch.tensor(self.lengths, device=self.input_ids_T.device)
        return torch.arange(self.max_length, device=lengths.device) < lengths[:, None]

    def pad(self, values_T: Tensor, fill: float) -> Tensor:
        """``values_T`` (``[T, ...]``) as ``[S, max_length, ...]``, right-padded with ``fill``; differentiable."""
        padded = values_T.new_full((self.num_sequences, self.max_length, *values_T.shape[1:]), fill)
        padded[self._is_token_BT] = values_T
        return padded

    def padded(self) -> dict[str, Tensor]:
        """The batch as ``[S, max_length]`` tensors, for a model or a loss that needs them."""
        columns = {"input_ids": self.input_ids_T, "position_ids": self.position_ids_T, "labels": self.labels_T, **self.token_columns}
        view = {name: self.pad(values, _PADDING[name]) for name, values in columns.items()}
        return {**view, "attention_mask": self._is_token_BT.long()}

    def flat(self) -> dict[str, Any]:
        """The batch as ``[1, T]`` tensors with ``cu_seqlens``."""
        columns = {"input_ids": self.input_ids_T, "position_ids": self.position_ids_T, "labels": self.labels_T, **self.token_columns}
        return {**{name: values[None] for name, values in columns.items()}, "cu_seqlens": self.cu_seqlens}

    def split(self, num_sequences: int) -> list[FlatBatch]:
        """Consecutive batches of at most ``num_sequences`` sequences, views of this one."""
        if num_sequences >= self.num_sequences:
            return [self]
        starts = [0, *accumulate(self.lengths)]
        has_label = (self.labels_T != IGNORE_INDEX).cpu()
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
                    trained_index=has_label[begin:end].nonzero()[:, 0].to(self.trained_index.device),
                    token_columns={name: values[begin:end] for name, values in self.token_columns.items()},
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
            input_ids_T=_to_device(np.concatenate([row.input_ids for row in rows]), device),
            position_ids_T=_to_device(np.concatenate([row.position_ids for row in rows]), device),
            labels_T=_to_device(labels, device),
            lengths=lengths,
            trained_index=_to_device(np.flatnonzero(labels != IGNORE_INDEX), device),
            token_columns={name: _to_device(np.concatenate([row.columns[name] for row in rows]), device) for name in names},
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
        columns = {name: batch[name] for name in ("labels", "position_ids", *TOKEN_COLUMNS) if batch.get(name) is not None}
        mask = batch.get("attention_mask")
        if mask is None and "position_ids" in columns:
            mask = columns["position_ids"] >= 0
        rows = []
        for index in range(ids.shape[0]):
            row = {"input_ids": ids[index], **{name: values[index] for name, values in columns.items()}}
            rows.append(row if mask is None else {name: values[mask[index].bool()] for name, values in row.items()})
        return cls.from_features(rows, device)


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    input_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    lengths: tuple[int, ...]
    columns: dict[str, npt.NDArray[Any]]

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
        return cls(index, ids, position_ids, labels_array, lengths, columns)


def _array(values: Any, dtype: type[np.int64] | None) -> npt.NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=dtype).reshape(-1)


def _kept(values: Any, kept: npt.NDArray[np.bool_]) -> Any:
    """``values`` at the kept tokens where it has one value a token, else as it is."""
    if isinstance(values, list | tuple | np.ndarray | Tensor) and len(values) == kept.size:
        return _array(values, None)[kept]
    return values


def _to_device(values: npt.NDArray[Any], device: torch.device | str) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
