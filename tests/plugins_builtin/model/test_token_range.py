"""Tokens that the model does not know, and samples without labels, are told before anything is computed: none is trained as another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from tiny_training import packed, sample
from torch import Tensor

from twinkle.core.errors import InvalidData
from twinkle.loss import CrossEntropyLoss
from twinkle.model import TransformersModel
from twinkle.plugins_builtin.model.transformers._vocabulary import Vocabulary
from twinkle.processor import InputProcessor

NUM_TOKENS = 768
SAMPLES = [sample(length, seed) for seed, length in enumerate((5, 7, 6))]


@pytest.fixture(scope="module")
def model(folder: Path) -> TransformersModel:
    """Shared: no test here makes a step."""
    return TransformersModel(model_id=folder, mixed_precision="no")


def with_token(column: str, value: int, row: int = 1, position: int = 2) -> list[dict[str, Any]]:
    changed = list(SAMPLES[row][column])
    changed[position] = value
    return [{**s, column: changed} if index == row else s for index, s in enumerate(SAMPLES)]


FORMS: list[tuple[Callable[[list[dict[str, Any]]], Any], str]] = [
    (lambda samples: samples, "sample 1"),
    (lambda samples: [{name: torch.tensor(column) for name, column in s.items()} for s in samples], "sample 1"),
    (lambda samples: [packed([samples[0], samples[0]]), packed(samples[1:])], "sample 1"),
    (lambda samples: iter(samples), "sample 1"),
    (InputProcessor(), "sequence 1"),
    (InputProcessor(padding_side="left"), "sequence 1"),
    (InputProcessor(padding_free=True), "sequence 1"),
]


@pytest.mark.parametrize("micro_batch_size", [None, 1])
@pytest.mark.parametrize(("form", "place"), FORMS)
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("labels", -1, r"'labels' holds -1: expected a token id, 0 to 767 \(.* 768 rows\), or -100 where nothing is trained"),
        ("labels", 768, "'labels' holds 768: expected a token id, 0 to 767"),
        ("input_ids", 768, r"'input_ids' holds 768, but the model's vocabulary has 768 tokens, 0 to 767 .*resize_token_embeddings"),
        ("input_ids", -2, "'input_ids' holds -2, but"),
    ],
)
def test_a_token_that_the_model_does_not_know_is_told(
    model: TransformersModel, form: Any, place: str, column: str, value: int, message: str, micro_batch_size: int | None
) -> None:
    """In whichever form it comes. Mutants: a bound one too high; the index of the micro-batch's sample; the signed comparison."""
    for method in (model.forward_backward, model.forward_only):
        with pytest.raises(InvalidData, match=f"^{place} of inputs: {message}"):
            method(inputs=form(with_token(column, value)), micro_batch_size=micro_batch_size)
    with pytest.raises(InvalidData, match=message):
        model.forward(inputs=form(with_token(column, value)))
    assert model.optimizer_group[""].engine.num_backward == 0
    assert all(p.grad is None for p in model.model.parameters())


def test_the_last_token_of_the_vocabulary_is_one(model: TransformersModel) -> None:
    for column in ("input_ids", "labels"):
        assert model.forward_only(inputs=with_token(column, NUM_TOKENS - 1))["loss"] > 0


def test_a_label_that_the_loss_does_not_count_may_be_any_number(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    expected = model.forward_only(inputs=with_token("labels", -100))["loss"]
    model.set_loss(CrossEntropyLoss(ignore_index=-1, reduction="sum"))
    ignored = [{**s, "labels": [-1 if label == -100 else label for label in s["labels"]]} for s in with_token("labels", -100)]
    assert model.forward_only(inputs=ignored)["loss"] == pytest.approx(expected, rel=1e-6)
    ignored[2]["labels"][0] = -2
    with pytest.raises(InvalidData, match="sample 2 of inputs: 'labels' holds -2"):
        model.forward_only(inputs=ignored)


class SmallLogits:
    """A loss that needs no label: the mean square of the logits. It may read labels, as whatever it likes."""

    require_logits = True
    require_logps = False

    def __call__(self, inputs: Any, outputs: Any) -> dict[str, Any]:
        return {"loss": outputs["logits"].square().mean(), "num_tokens": 0}


def test_labels_that_are_no_tokens_are_left_alone(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.set_loss(SmallLogits())
    assert model.forward_backward(inputs=with_token("labels", -5))["loss"] > 0


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings")
def test_what_holds_is_the_layers_as_they_are_now(folder: Path) -> None:
    """With more rows than before, or than the layer says; behind PEFT's wrappers. Mutant: the size that the configuration had."""
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.model.resize_token_embeddings(NUM_TOKENS + 8)
    assert Vocabulary.of(model._base) == Vocabulary(NUM_TOKENS + 8, NUM_TOKENS + 8)
    embedding = model.model.get_input_embeddings()
    embedding.num_embeddings = NUM_TOKENS
    assert Vocabulary.of(model._base).num_inputs == NUM_TOKENS + 8
    both = LoraConfig(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    for config in (LoraConfig(target_modules=["embed_tokens", "lm_head"]), both):
        wrapped = TransformersModel(model_id=folder, mixed_precision="no")
        wrapped.add_adapter_to_model("default", config)
        assert type(wrapped._base.get_input_embeddings()) is not torch.nn.Embedding
        assert Vocabulary.of(wrapped._base) == Vocabulary(NUM_TOKENS, NUM_TOKENS)


def test_a_layer_that_somebody_comes_between_is_not_held_against_a_batch(folder: Path) -> None:
    """Here every id beyond the vocabulary is read as the token 7."""
    model = TransformersModel(model_id=folder, mixed_precision="no")

    embedding = model.model.get_input_embeddings()
    plain = embedding.forward

    def as_known(ids: Tensor) -> Tensor:
        return torch.where(ids < NUM_TOKENS, ids, 7)

    expected = model.forward_only(inputs=with_token("input_ids", 7))["loss"]
    hook = embedding.register_forward_pre_hook(lambda module, arguments: as_known(*arguments))
    assert model.forward_only(inputs=with_token("input_ids", NUM_TOKENS))["loss"] == expected
    hook.remove()
    embedding.forward = lambda ids: plain(as_known(ids))
    assert model.forward_only(inputs=with_token("input_ids", NUM_TOKENS))["loss"] == expected


UNLABELLED = [{"input_ids": s["input_ids"]} for s in SAMPLES]


@pytest.mark.parametrize("micro_batch_size", [None, 1])
@pytest.mark.parametrize(
    "form", [lambda samples: samples, lambda samples: {"input_ids": torch.tensor([s["input_ids"][:5] for s in samples])}]
)
def test_samples_without_labels_are_refused_where_they_would_train_nothing(
    model: TransformersModel, form: Any, micro_batch_size: int | None
) -> None:
    with pytest.raises(InvalidData, match=r"no sample of inputs has 'labels', .*: loss 'cross_entropy' reads the log-probabilities"):
        model.forward_backward(inputs=form(UNLABELLED), micro_batch_size=micro_batch_size)
    model.forward(inputs=form(UNLABELLED))
    model.calculate_loss()
    with pytest.raises(InvalidData, match="no sample of inputs has 'labels'"):
        model.backward()
    model.optimizer_group[""].last = None
    assert model.optimizer_group[""].engine.num_backward == 0
    assert all(p.grad is None for p in model.model.parameters())


def test_a_loss_that_needs_no_labels_trains_without(folder: Path) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.set_loss(SmallLogits())
    model.set_optimizer("SGD", lr=0.1)
    losses = []
    for _ in range(2):
        losses.append(model.forward_backward(inputs=UNLABELLED)["loss"])
        model.clip_grad_and_step()
    assert losses[1] < losses[0]


def test_labels_may_come_from_the_processor(folder: Path) -> None:
    """One that makes them of the ids."""
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.set_processor(lambda samples: InputProcessor()([{**s, "labels": [*s["input_ids"][1:], -100]} for s in samples]))
    assert model.forward_backward(inputs=UNLABELLED)["loss"] > 0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("whole_logits", [False, True])
def test_where_nothing_is_labelled_outputs_are_zero_and_gradients_too(folder: Path, attention: str, whole_logits: bool) -> None:
    """A data rank may get such a part. Mutant: the value at the position that keeps the graph."""
    model = TransformersModel(model_id=folder, mixed_precision="no", attn_implementation=attention)
    if whole_logits:
        model.add_metric("Accuracy", is_training=True)
    nothing = [{**s, "labels": [-100] * len(s["labels"])} for s in SAMPLES]
    for inputs in (UNLABELLED, nothing):
        assert not model.forward_only(inputs=inputs)["logps"].any()
    outputs = model.forward_backward(inputs=nothing)
    assert outputs["loss"] == 0
    assert not outputs["logps"].any()
    gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
    assert gradients
    assert not any(g.any() for g in gradients)
