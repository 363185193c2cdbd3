"""Activation recompute for as many layers as memory asks for, and none where it asks for none.

A decoder layer saves ``A`` bytes for the backward pass, or only its input of ``C`` bytes if it is computed a second time there (Chen et al.
2016, arXiv 1604.06174). Of ``n`` layers alike, ``k`` are recomputed with the smallest ``k`` for which::

    (n - k) A + k C + [A if k > 0] <= budget

where the last ``A`` is of the layer that is being computed again. ``A`` and ``C`` are seen, not concluded from a configuration: a pass
over a batch larger than any before is watched by autograd's own hooks as it runs, from its first layer on, and what they count also
decides about the layers that come after in that same pass. Smaller batches take their share of the largest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from twinkle.plugins_builtin.model.transformers._available_memory import available_bytes
from twinkle.plugins_builtin.model.transformers._replaced_forward import replaced_forward

_SHARE = 0.9
"""Of the memory that is free: the rest is for the output projection's tiles, for temporary values and for fragments."""


class Recompute:
    """Which layers of a model are recomputed; one for each way that the model is put together."""

    def __init__(self, model: PreTrainedModel, memory_bytes: int | None) -> None:
        """
        Args:
            memory_bytes: for what layers save for the backward pass; None is what there is on the device when it matters.
        """
        self._layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        self._device = model.device
        self._memory_bytes = memory_bytes
        self._ample_bytes = 0.0
        """Far from any budget: below this the device is not asked for its memory."""
        self._largest = 0
        self._saved_bytes = 0.0
        """A, of a batch of the size ``_largest``."""
        self._input_bytes = 0.0
        """C, of the same."""

    @contextmanager
    def planned(self, size: int, reserved_bytes: Callable[[], int]) -> Iterator[None]:
        """Inside the block a forward pass in train mode saves no more than the budget, if recompute can bring that about.

        Where the user turned gradient checkpointing on, that holds, and nothing is done here.

        Args:
            size: of the batch, in a measure that the memory of a layer grows with.
            reserved_bytes: what else will be allocated before the activations are free again.
        """
        if not self._layers or any(layer.gradient_checkpointing for layer in self._layers):
            yield
            return
        try:
            if self._memory_bytes == 0:  # nothing has to be seen to know that
                self._recompute(self._layers, len(self._layers))
                yield
            elif size > self._largest:
                with self._watched(size, reserved_bytes):
                    yield
            else:
                self._recompute(self._layers, self._num_recomputed(size, reserved_bytes))
                yield
        finally:
            self._recompute(self._layers, 0)

    @contextmanager
    def _watched(self, size: int, reserved_bytes: Callable[[], int]) -> Iterator[None]:
        self._largest, self._saved_bytes, self._input_bytes = size, 0.0, 0.0
        try:
            with ExitStack() as stack:
                for index, layer in enumerate(self._layers):
                    stack.enter_context(replaced_forward(layer, partial(self._watch, index, reserved_bytes, layer.forward)))
                yield
        except BaseException:
            self._largest = 0  # it was not seen to its end
            raise

    def _watch(self, index: int, reserved_bytes: Callable[[], int], forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a layer, counts what it saves, and decides about the layers after it."""
        layer = self._layers[index]
        if layer.gradient_checkpointing:
            return forward(*args, **kwargs)
        saved = _SavedStorages(layer)
        with saved_tensors_hooks(saved.pack, saved.unpack):
            output = forward(*args, **kwargs)
        self._saved_bytes = max(self._saved_bytes, float(saved.num_bytes))
        self._input_bytes = max(self._input_bytes, float(sum(a.nbytes for a in args if isinstance(a, Tensor))))
        num_before = sum(before.gradient_checkpointing for before in self._layers[:index])
        self._recompute(self._layers[index + 1 :], self._num_recomputed(self._largest, reserved_bytes) - num_before)
        return output

    def _num_recomputed(self, size: int, reserved_bytes: Callable[[], int]) -> int:
        saved, kept = (of_largest * size / self._largest for of_largest in (self._saved_bytes, self._input_bytes))
        num_layers = len(self._layers)
        if num_layers * saved <= self._ample_bytes:
            return 0
        budget = self._budget(reserved_bytes)
        if num_layers * saved <= budget:
            return 0
        if saved <= kept:
            return 0  # nothing would be won
        return min(num_layers, math.ceil(((num_layers + 1) * saved - budget) / (saved - kept)))

    def _budget(self, reserved_bytes: Callable[[], int]) -> float:
        if self._memory_bytes is not None:
            return self._memory_bytes
        available = available_bytes(self._device)
        budget = math.inf if available is None else _SHARE * available - reserved_bytes()
        self._ample_bytes = budget / 4
        return budget

    def _recompute(self, layers: list[GradientCheckpointingLayer], number: int) -> None:
        for index, layer in enumerate(layers):
            if layer.gradient_checkpointing is not (index < number):
                layer.gradient_checkpointing = index < number
                layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


class _SavedStorages:
    """Counts the storages that autograd saves, each once; those of the layer's own weights are there anyway."""

    def __init__(self, layer: torch.nn.Module) -> None:
        self.num_bytes = 0
        self._known = {t.untyped_storage().data_ptr() for t in (*layer.parameters(), *layer.buffers())}

    def pack(self, saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self.num_bytes += storage.nbytes()
        return saved

    @staticmethod
    def unpack(saved: Tensor) -> Tensor:
        return saved
