"""One model run over flat batches, in training and evaluation: precision, attention, output projection and recompute put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from transformers import PreTrainedModel

from twinkle.plugins_builtin.model.transformers._attention_choice import attention_of
from twinkle.plugins_builtin.model.transformers._forward import run_forward
from twinkle.plugins_builtin.model.transformers._hook import outputs_are_hooked
from twinkle.plugins_builtin.model.transformers._lora_linear import fused_adapters, lora_layers
from twinkle.plugins_builtin.model.transformers._optimizer_group import ForwardResult, OptimizerGroup
from twinkle.plugins_builtin.model.transformers._output_projection import is_plain, separable_projection
from twinkle.plugins_builtin.model.transformers._recompute import Recompute
from twinkle.plugins_builtin.model.transformers._varlen_attention import varlen_attention
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch


class ForwardPass:
    """What is known of how a model runs."""

    def __init__(self, base: PreTrainedModel, autocast: torch.dtype | None, activation_memory_bytes: int | None) -> None:
        """
        Args:
            base: the model without wrapping.
            autocast: what matrix products compute in; None is the dtype of the weights.
            activation_memory_bytes: see :class:`Recompute`.
        """
        self._base = base
        self._autocast = autocast
        self._activation_memory_bytes = activation_memory_bytes
        self._attention = attention_of(base)
        self.look_again()

    def look_again(self) -> None:
        """Forgets what it saw of the model, which was changed: by an adapter, a patch, a kernel."""
        self._projection = separable_projection(self._base)
        self._recompute = Recompute(self._base, self._activation_memory_bytes)
        self._lora_layers = lora_layers(self._base)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Around a forward pass and its backward pass: the model attends to flat batches, adapters are part of their layers."""
        attending = varlen_attention(self._base) if self._attention == "varlen" else nullcontext()
        with attending, fused_adapters(self._lora_layers):
            yield

    def run(self, model: torch.nn.Module, group: OptimizerGroup, batch: FlatBatch, temperature: float, is_training: bool) -> ForwardResult:
        """The outputs that the loss and the metrics of ``group`` need; ``model`` is the model as it is wrapped."""
        if model.training != is_training:
            model.train(is_training)
        needs = group.needs(group.train_metrics if is_training else group.eval_metrics)
        projection = self._projection
        if projection is not None and (not is_plain(self._base, projection) or outputs_are_hooked(model)):
            projection = None
        # By plan a layer saves in proportion to the tokens, else to the weights of attention too.
        size = batch.num_tokens * (1 if self._attention == "varlen" else batch.max_length)
        planned = self._recompute.planned(size, partial(_bytes_to_come, group)) if is_training else nullcontext()
        with torch.autocast(batch.device.type, dtype=self._autocast, enabled=self._autocast is not None), planned:
            outputs = run_forward(model, self._base, batch, needs, self._attention, projection, temperature)
        return ForwardResult(batch, outputs)


def _bytes_to_come(group: OptimizerGroup) -> int:
    """Gradients, and before the first step two moments, of what is trained: allocated while or after activations are."""
    num_values = 1 if group.engine.num_steps else 3
    return num_values * sum(parameter.nbytes for parameter in group.engine.parameters)
