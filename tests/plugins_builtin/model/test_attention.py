"""No sequence of a flat batch sees another, on any attention; and each sees of itself what it would see alone."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import SMALL, make_tiny, packed, sample
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, BloomConfig, GPT2Config, LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config

from benchmarks.counting import count_dispatched
from twinkle.core.errors import InvalidConfig
from twinkle.model import TransformersModel
from twinkle.plugins_builtin.model.transformers._varlen_attention import AttentionPlan, Buckets, attend
from twinkle.processor import InputProcessor

LENGTHS = [(5,), (4, 4, 4), (3, 50, 7, 7, 33, 1, 90), (1, 2), (64, 1, 1, 200)]
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SMALL),
    "mistral with a window": MistralConfig(**SMALL, sliding_window=6),
    "qwen2 with windows in some layers": Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "gpt2, learned positions": GPT2Config(
        vocab_size=700, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=None, eos_token_id=1, **NO_DROPOUT
    ),
    "bloom, no pluggable attention": BloomConfig(vocab_size=700, hidden_size=32, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=1),
}


def dense_mask(lengths: tuple[int, ...], window: int | None) -> torch.Tensor:
    """``[T, T]``: the same sequence, not later, not further back than the window."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(sum(lengths))
    distance = place[:, None] - place
    allowed = (owner[:, None] == owner) & (distance >= 0)
    return allowed if window is None else allowed & (distance < window)


@pytest.mark.parametrize("in_buckets", [False, True], ids=["one by one", "in buckets"])
@pytest.mark.parametrize(("lengths", "window"), [*product(LENGTHS, (None, 6)), ((600, 257, 512), 100), ((700, 3), 300)], ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (3, 1)])
def test_attention_by_plan_is_dense_attention_with_a_block_diagonal_mask(
    lengths: tuple[int, ...], window: int | None, heads: int, kv_heads: int, in_buckets: bool
) -> None:
    """Values and gradients in float64; 1e-12 is its noise. Mutants: not causal; window off by one; a padded key seen; scatter shifted."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, n, sum(lengths), 8) for n in (heads, kv_heads, kv_heads)]
    ours = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes]
    theirs = [t.detach().clone().requires_grad_() for t in ours]
    weight = torch.randn(1, sum(lengths), heads, 8, dtype=torch.float64, generator=generator)
    plan = AttentionPlan(lengths, Buckets.of(lengths, torch.device("cpu")) if in_buckets else None)
    got, _ = attend(torch.nn.Module(), *ours, None, scaling=0.3, sliding_window=window, attention_plan=plan)
    mask = dense_mask(lengths, window)
    expected = scaled_dot_product_attention(*theirs, attn_mask=mask, scale=0.3, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for g, e in zip(torch.autograd.grad((got * weight).sum(), ours), torch.autograd.grad((expected * weight).sum(), theirs), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-12, atol=1e-12)


def test_the_largest_tensor_of_a_window_grows_with_the_length_not_with_its_square() -> None:
    largest = []
    for length in (1024, 4096):
        states = [torch.zeros(1, 1, length, 8, requires_grad=True) for _ in range(3)]
        plan = AttentionPlan.of((length,), torch.device("cpu"))
        step = partial(attend, torch.nn.Module(), *states, None, sliding_window=64, attention_plan=plan)
        largest.append(count_dispatched(lambda step=step: step()[0].sum().backward()).largest_numel)
    assert largest[1] <= 4 * largest[0]
    assert largest[1] < 4096 * 4096 / 50


def test_sequences_are_gathered_into_buckets_where_calls_are_dear() -> None:
    assert AttentionPlan.of((3, 5), torch.device("cpu")).buckets is None
    assert AttentionPlan.of((4, 4), torch.device("meta")).buckets is None, "they lie in one already"
    buckets = AttentionPlan.of((40, 3, 41, 5, 90), torch.device("meta")).buckets
    assert buckets is not None
    assert buckets.shapes == ((2, 5), (2, 41), (1, 90))


def test_attention_drops_weights_where_the_model_says_so() -> None:
    """With one value everywhere, what is left of the weights is their sum: 1 without dropout, a multiple of 2 / 9 with one half."""
    query, value = torch.zeros(1, 1, 9, 8), torch.ones(1, 1, 9, 8)
    plan = AttentionPlan.of((9,), torch.device("cpu"))
    torch.manual_seed(0)
    kept, _ = attend(torch.nn.Module(), query, query, value, None, dropout=0.5, attention_plan=plan)
    last = kept[0, -1, 0, 0].item() * 9 / 2
    assert last == pytest.approx(round(last), abs=1e-5)
    assert 0 < last < 9
    assert last != 4.5


@pytest.mark.parametrize("feature", ["softcap", "s_aux"])
def test_a_feature_that_the_plan_lacks_is_refused(feature: str) -> None:
    tensors = [torch.zeros(1, 1, 2, 4) for _ in range(3)]
    plan = AttentionPlan.of((2,), torch.device("cpu"))
    with pytest.raises(InvalidConfig, match=f"Module attends with '{feature}', .* pass attn_implementation='eager'"):
        attend(torch.nn.Module(), *tensors, None, attention_plan=plan, **{feature: 1.0})


class Logits:
    """A loss that wants to see all logits."""

    require_logits = True

    def __call__(self, inputs: Any, outputs: Any) -> torch.Tensor:
        logps: torch.Tensor = outputs["logps"]
        return logps.mean()


def model_of(config: PretrainedConfig, attention: str = "sdpa") -> TransformersModel:
    torch.manual_seed(0)
    model = TransformersModel(config=config, mixed_precision="no", dtype="float64", attn_implementation=attention)
    model.set_loss(Logits)
    return model


def rows(samples: list[dict[str, Any]], form: str) -> Any:
    if form == "packed":
        return [packed(samples[:2]), packed(samples[2:])]
    if form == "left-padded":
        return InputProcessor(padding_side="left")(samples)
    return samples


CASES = [(name, attention) for name in CONFIGS for attention in (("eager",) if "bloom" in name else ("sdpa", "eager"))]


@pytest.mark.parametrize(("name", "attention"), CASES)
@pytest.mark.parametrize("form", ["listed", "packed", "left-padded"])
def test_each_sample_has_the_logits_that_it_has_alone(name: str, attention: str, form: str) -> None:
    """Against plain transformers, one sample at a time. Norms and eager softmax round to float32 inside: 6e-8 relative, times layers."""
    model = model_of(CONFIGS[name], attention)
    samples = [sample(length, seed) for seed, length in enumerate((9, 40, 13, 21))]
    logits = model.forward(inputs=rows(samples, form))["logits"]
    for row, s in enumerate(samples):
        with torch.no_grad():
            alone = model.model(input_ids=torch.tensor([s["input_ids"]])).logits[0]
        torch.testing.assert_close(logits[row, : len(alone)].detach(), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_changing_one_sample_changes_no_other_logits(name: str, attention: str) -> None:
    """To the bit: the same kernels run over the same shapes."""
    model = model_of(CONFIGS[name], attention)
    samples = [sample(length, seed) for seed, length in enumerate((9, 40, 13, 21))]
    changed = [*samples[:1], sample(40, seed=77), *samples[2:]]
    before = model.forward(inputs=rows(samples, "packed"))["logits"]
    after = model.forward(inputs=rows(changed, "packed"))["logits"]
    for row in (0, 2, 3):
        assert torch.equal(before[row], after[row])
    assert not torch.allclose(before[1], after[1])


def test_no_gradient_flows_into_another_sample() -> None:
    """Where one sample alone is trained, the embedded tokens of the other get exactly zero."""
    model = model_of(CONFIGS["gpt2, learned positions"])
    model.set_loss("CrossEntropyLoss")
    one, other = sample(9, 1), sample(12, 2)
    other["labels"] = [-100] * 12
    seen: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, arguments: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    model.model.get_input_embeddings().register_forward_hook(keep)
    model.forward_backward(inputs=[packed([one, other])])
    gradient = seen[0].grad
    assert gradient is not None
    assert gradient[0, :9].abs().max() > 0
    assert not gradient[0, 9:].any()


def test_the_model_keeps_its_own_attention_outside_of_training(tmp_path: Path) -> None:
    """generate() between steps, and a plain call, work as ever."""
    folder = make_tiny(tmp_path)
    model = TransformersModel(model_id=folder, mixed_precision="no")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.forward_backward(inputs=[sample(9, 0)])
    ids = torch.tensor([[1, 2, 3, 4]])
    assert model.model.config._attn_implementation == "sdpa"
    assert torch.equal(model.model(ids).logits, plain(ids).logits)
    options = {"max_new_tokens": 4, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    assert torch.equal(model.model.eval().generate(ids, **options), plain.eval().generate(ids, **options))


def test_gradient_checkpointing_recomputes_the_same_attention(folder: Path) -> None:
    samples = [sample(9, 0), sample(30, 1)]
    losses, gradients = [], []
    for checkpointing in (False, True):
        model = TransformersModel(model_id=folder, mixed_precision="no")
        if checkpointing:
            model.model.gradient_checkpointing_enable({"use_reentrant": False})
        losses.append(model.forward_backward(inputs=samples)["loss"])
        gradients.append({n: p.grad for n, p in model.model.named_parameters()})
    assert losses[0] == losses[1]
    for name, gradient in gradients[0].items():
        assert torch.equal(gradient, gradients[1][name]), name
