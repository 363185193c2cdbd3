"""The training loops that a person writes who has a peft model and torch: one that pads, and one that does without padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, Qwen3ForCausalLM

from benchmarks.sft_workload import LEARNING_RATE, MAX_GRAD_NORM, Row


class Trainer(Protocol):
    """Trains on the same batches over and over."""

    def step(self) -> float:
        """One optimizer step on the next batch; returns its loss."""

    def adapter(self) -> dict[str, Tensor]:
        """The weights of its adapter as they are now, by peft's names."""


class PaddedLoop:
    """Rows padded to the longest, logits of all positions: what a first draft looks like."""

    def __init__(self, folder: Path, batches: Sequence[Sequence[Row]], autocast: bool) -> None:
        """``folder`` is that of :mod:`benchmarks.sft_workload`."""
        self.model = load_peft_model(folder)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
        self._batches = cycle(batches)
        self._autocast = autocast

    def step(self) -> float:
        """One optimizer step on the next batch."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            loss = self.loss(next(self._batches))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def adapter(self) -> dict[str, Tensor]:
        """A copy of the weights, by peft's names."""
        return adapter_of(self.model)

    def loss(self, rows: Sequence[Row]) -> Tensor:
        """Mean cross entropy over the labels of ``rows``."""
        ids_BL = pad_sequence([torch.tensor(row.input_ids) for row in rows], batch_first=True)
        labels_BL = pad_sequence([torch.tensor(row.shifted_labels) for row in rows], batch_first=True, padding_value=-100)
        mask_BL = pad_sequence([torch.ones(len(row.input_ids), dtype=torch.int64) for row in rows], batch_first=True)
        logits_BLV = self.model(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False).logits
        return cross_entropy(logits_BLV.float().flatten(0, 1), labels_BL.flatten())


class PackedLoop(PaddedLoop):
    """Rows one after the other, attention sequence by sequence, logits of labelled positions alone; the rest is as peft makes it."""

    def __init__(self, folder: Path, batches: Sequence[Sequence[Row]], autocast: bool) -> None:
        super().__init__(folder, batches, autocast)
        AttentionInterface.register("by_sequence", attend_by_sequence)
        self.model.get_base_model().config._attn_implementation = "by_sequence"

    def loss(self, rows: Sequence[Row]) -> Tensor:
        """Mean cross entropy over the labels of ``rows``."""
        lengths = [len(row.input_ids) for row in rows]
        ids_T = torch.tensor([token for row in rows for token in row.input_ids])
        positions_T = torch.cat([torch.arange(length) for length in lengths])
        labels_T = torch.tensor([label for row in rows for label in row.shifted_labels])
        labelled = (labels_T != -100).nonzero()[:, 0]
        logits_1NV = self.model(
            input_ids=ids_T[None], position_ids=positions_T[None], use_cache=False, logits_to_keep=labelled, lengths=lengths
        ).logits
        return cross_entropy(logits_1NV[0].float(), labels_T[labelled])


def attend_by_sequence(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: None, *, scaling: float, lengths: list[int], **rest: Any
) -> tuple[Tensor, None]:
    """Causal attention of each of the sequences that lie one after the other, as transformers calls it."""
    each = zip(*(tensor.split_with_sizes(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    attended = [scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True) for q, k, v in each]
    return torch.cat(attended, dim=2).transpose(1, 2), None


def adapter_of(model: Any) -> dict[str, Tensor]:
    """A copy of the weights of the adapter in ``model``, trained or frozen, by their names."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters() if "lora_" in name}


def load_peft_model(folder: Path) -> Any:
    """The model with its adapter, ready to train."""
    base = Qwen3ForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(folder / "adapter"), is_trainable=True)
    return model.train()
