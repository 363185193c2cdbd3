"""Which token ids a model knows, and whether a batch keeps to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from transformers import PreTrainedModel

from twinkle.core.types import IGNORE_INDEX
from twinkle.plugins_builtin.processor._flat_batch import FlatBatch


@dataclass(frozen=True, slots=True)
class Fault:
    """A token that the model does not know."""

    position: int
    """In the flat batch."""
    reason: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How many tokens a model reads and predicts; None where that cannot be told from outside: then no upper bound is held against a batch.

    The layers are asked, not the configuration: both may have more rows than the tokenizer has tokens, and may have been resized.
    """

    num_inputs: int | None
    num_outputs: int | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> Vocabulary:
        """That of ``model`` as it is now, without its wrapping; a few attributes are read."""
        try:
            embedding = _unwrapped(model.get_input_embeddings())
        except NotImplementedError:  # what transformers raises where an architecture does not say which layer it is
            embedding = None
        projection = _unwrapped(model.get_output_embeddings())
        return cls(
            _num_rows(embedding, embedding.weight, embedding.num_embeddings) if isinstance(embedding, torch.nn.Embedding) else None,
            _num_rows(projection, projection.weight, projection.out_features) if isinstance(projection, torch.nn.Linear) else None,
        )

    def fault(self, batch: FlatBatch, labels_are_tokens: bool, ignore_index: int) -> Fault | None:
        """The first token of ``batch``, which lies on the CPU, that the model does not know.

        Args:
            labels_are_tokens: False where the loss takes labels for something else: they are not looked at then.
            ignore_index: a label beside -100 that the loss does not count.
        """
        if self.num_inputs is not None:
            ids_T = batch.input_ids_T.numpy()
            unknown = _outside(ids_T, self.num_inputs)
            if unknown is not None:
                return Fault(unknown, _of_an_id(int(ids_T[unknown]), self.num_inputs))
        if labels_are_tokens:
            labels_N = batch.labels_T.numpy()[batch.trained]
            unknown = _outside(labels_N, self.num_outputs)
            if unknown is not None and ignore_index != IGNORE_INDEX:
                labels_N[labels_N == ignore_index] = 0  # a copy, and a token of every vocabulary
                unknown = _outside(labels_N, self.num_outputs)
            if unknown is not None:
                return Fault(int(batch.trained[unknown]), _of_a_label(int(labels_N[unknown]), self.num_outputs))
        return None


def _outside(tokens: npt.NDArray[np.int64], num_known: int | None) -> int | None:
    """Where the first of ``tokens`` stands that is not in ``range(num_known)``; a negative one is very large without its sign."""
    unsigned = tokens.view(np.uint64)
    bound = np.uint64(np.iinfo(np.int64).max if num_known is None else num_known - 1)
    return int((unsigned > bound).argmax()) if unsigned.max(initial=0) > bound else None


def _of_an_id(value: int, num_known: int) -> str:
    return (
        f"'input_ids' holds {value}, but the model's vocabulary has {num_known} tokens, 0 to {num_known - 1} (the rows of its input "
        "embedding). Where tokens were added to the tokenizer, the model has to be resized too: in transformers call "
        "resize_token_embeddings(len(tokenizer)) and save_pretrained(folder), then load that folder here"
    )


def _of_a_label(value: int, num_known: int | None) -> str:
    known = "0 or more" if num_known is None else f"0 to {num_known - 1} (the model's output projection has {num_known} rows)"
    return f"'labels' holds {value}: expected a token id, {known}, or -100 where nothing is trained"


def _unwrapped(layer: torch.nn.Module | None) -> torch.nn.Module | None:
    """``layer`` without what PEFT put around it."""
    if isinstance(layer, AuxiliaryTrainingWrapper):
        return _unwrapped(layer.original_module)
    if isinstance(layer, BaseTunerLayer):
        base: torch.nn.Module = layer.get_base_layer()
        return base
    return layer


def _num_rows(layer: torch.nn.Module, weight: torch.Tensor, number: int) -> int | None:
    """``number``, which the layer says of itself, or the rows of ``weight`` where these are more.

    A shard of the weight may have fewer, and a weight that was put in place by hand leaves the number as it was. None where a hook or a
    patch comes between: it may bring other tokens.
    """
    if "forward" in vars(layer) or layer._forward_pre_hooks or layer._forward_hooks:
        return None
    return max(number, weight.shape[0])
