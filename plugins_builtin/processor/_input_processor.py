"""Collates encoded samples into one batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from twinkle.core.errors import InvalidArgument
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch

if TYPE_CHECKING:
    from torch import Tensor

    from twinkle.core.mesh import DeviceMesh
    from twinkle.core.types import InputFeature


class InputProcessor:
    """Samples to tensors: padded ``[num_sequences, max_length]``, or flat ``[1, num_tokens]`` with ``cu_seqlens``.

    Either way sequences stay apart: a packed sample becomes the sequences that it was packed from. Padding is input_ids 0,
    attention_mask 0, labels -100, completion_mask 0, loss_scale 0, position_ids -1. Columns that neither a model nor a loss reads
    (messages, user_data ...) are left out.
    """

    def __init__(
        self,
        device_mesh: DeviceMesh | None = None,
        padding_free: bool = False,
        framework: Literal["transformers", "megatron"] = "transformers",
        padding_side: Literal["right", "left"] = "right",
    ) -> None:
        """
        Args:
            device_mesh: where the batch will be used; the data loader has sliced it already.
            padding_free: concatenate instead of padding.
            framework: who reads the batch.
            padding_side: where padding goes in a padded batch.
        """
        if padding_side not in ("right", "left"):
            raise InvalidArgument(f"padding_side: expected 'right' or 'left', got {padding_side!r}")
        self.device_mesh = device_mesh
        self.padding_free = padding_free
        self.framework = framework
        self.padding_side = padding_side

    def __call__(self, inputs: Sequence[InputFeature] | InputFeature) -> dict[str, Any]:
        """One batch of ``inputs`` (samples, or a single one), on the CPU.

        Raises:
            InvalidData: nothing to collate, or a sample that is not encoded.
        """
        features: Sequence[Mapping[str, Any]] = [inputs] if isinstance(inputs, Mapping) else inputs
        batch = FlatBatch.from_features(features)
        if self.padding_free:
            return batch.flat()
        padded = dict(batch.padded())
        return padded if self.padding_side == "right" else {name: _left_padded(values, batch.lengths) for name, values in padded.items()}


def _left_padded(values_BT: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Each right-padded row rolled, so that its padding stands first."""
    return torch.stack([row.roll(values_BT.shape[1] - length) for row, length in zip(values_BT, lengths, strict=True)])
