"""The built-in kernels in transformers' layers: the same step as before, and the very same objects after."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from tiny_model import make_tokenizer
from tiny_training import batches, make_trainee, train, weights
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3 import modeling_qwen3

import twinkle
from twinkle.core.errors import InvalidArgument, UnsuitableLayer
from twinkle.kernel import RMSNormKernel
from twinkle.model import TransformersModel
from twinkle.plugins_builtin.kernel._attention import attention_with
from twinkle.plugins_builtin.kernel._qk_norm_rope import _normalise_and_rotate
from twinkle.plugins_builtin.kernel._rope import _rotate

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
HEAD: dict[str, Any] = {**SIZES, "head_dim": 16}
EXPERTS: dict[str, Any] = {**HEAD, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "mlp_only_layers": [0]}
FAMILIES: dict[str, tuple[type, PretrainedConfig, dict[str, int]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES), {"LlamaAttention": 2, "LlamaMLP": 2, "LlamaRMSNorm": 5}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES), {"Qwen2Attention": 2, "Qwen2MLP": 2, "Qwen2RMSNorm": 5}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**HEAD), {"Qwen3Attention": 2, "Qwen3MLP": 2, "Qwen3RMSNorm": 9}),
    "qwen3_moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(**EXPERTS),
        {"Qwen3MoeAttention": 2, "Qwen3MoeExperts": 1, "Qwen3MoeMLP": 1, "Qwen3MoeRMSNorm": 9},
    ),
}
IDS = torch.randint(0, 64, (2, 11), generator=torch.Generator().manual_seed(5))

# Sums of some hundred float32 numbers in another order, through two layers and back.
STEP = 2e-5


def make(family: str, **overrides: Any) -> Any:
    cls, config, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = cls(type(config)(**{**config.to_diff_dict(), **overrides}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # of ones, a weight that is left out would not be seen
                parameter.uniform_(0.5, 1.5)
    return model


def step(model: Any, **inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    loss = model(input_ids=IDS, labels=IDS, **inputs).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]], tolerance: float) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=0)
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        error = (found[1][name] - value).abs().max() / value.abs().max()
        assert error <= tolerance, (name, error)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_step_with_the_built_in_kernels_equals_the_step_without(family: str, attention: str) -> None:
    model = make(family, attn_implementation=attention)
    before = [(type(layer), dict(vars(layer))) for layer in model.modules()]
    mask = torch.ones_like(IDS)
    mask[0, :3] = 0
    expected = step(model), step(model, attention_mask=mask)
    with twinkle.kernelize(model) as handle:
        assert handle.replaced == FAMILIES[family][2]
        assert handle.left == {}
        assert_close(step(model), expected[0], STEP)
        assert_close(step(model, attention_mask=mask), expected[1], STEP)
    for layer, (cls, space) in zip(model.modules(), before, strict=True):
        assert type(layer) is cls
        assert {n: v for n, v in vars(layer).items() if n != "training"} == {n: v for n, v in space.items() if n != "training"}
    again = step(model)
    assert torch.equal(again[0], expected[0][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_with_a_cache_gives_the_same_tokens(family: str) -> None:
    model = make(family).eval()
    plain = model.generate(IDS[:, :4], max_new_tokens=5, do_sample=False, pad_token_id=0)
    with twinkle.kernelize(model, mode="inference"):
        assert torch.equal(model.generate(IDS[:, :4], max_new_tokens=5, do_sample=False, pad_token_id=0), plain)


def test_a_sliding_window_stays() -> None:
    model = make("qwen3", use_sliding_window=True, sliding_window=3, layer_types=["sliding_attention"] * 2)
    expected = step(model)
    with twinkle.kernelize(model):
        assert_close(step(model), expected, STEP)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    """bfloat16: both round to 8 bits, not after the same operations: 2^-8 some times over. float64: transformers' norms are in float32."""
    model = make("qwen3").to(dtype)
    expected = step(model)
    with twinkle.kernelize(model):
        assert_close(step(model), expected, 6e-2 if dtype == torch.bfloat16 else 1e-6)


def test_under_autocast_queries_and_keys_have_the_dtype_of_the_layer() -> None:
    """Its float32 weights widen what bfloat16 projections give. Sums of 16 squares in another order fall on the other side of a rounding
    of the normalised numbers in few places; elsewhere only float32's roundings differ."""
    layer: Any = make("qwen3").model.layers[0].self_attn
    hidden, angles = torch.randn(2, 5, 32), torch.randn(2, 5, 16)
    cos, sin = angles.cos(), angles.sin()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q, k = (project(hidden).view(2, 5, -1, 16).transpose(1, 2) for project in (layer.q_proj, layer.k_proj))
        own = modeling_qwen3.apply_rotary_pos_emb(layer.q_norm(q), layer.k_norm(k), cos, sin)
        found = _normalise_and_rotate(layer, q, k, cos, sin)
    assert q.dtype == torch.bfloat16
    for ours, theirs in zip(found, own, strict=True):
        assert ours.dtype == theirs.dtype == torch.float32
        assert ((ours - theirs).abs() > 1e-6).float().mean() <= 0.01
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=2**-7)


def test_two_constants_of_norms_are_refused() -> None:
    """Too close for a trial to tell them apart."""
    model = make("qwen3")
    model.model.layers[1].self_attn.k_norm.variance_epsilon = 1.01e-6
    with pytest.raises(UnsuitableLayer, match=r"expected one variance_epsilon for queries and keys, got 1e-06 and 1.01e-06"):
        twinkle.kernelize(model, {"Qwen3Attention": "qk_norm_rope"})


def folder_of(family: str, tmp_path: Path) -> Path:
    make(family, vocab_size=704).save_pretrained(tmp_path)
    return make_tokenizer(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "llama"])
@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_training_with_kernels_equals_training_without(family: str, kind: str, precision: str, tmp_path: Path) -> None:
    """What three SGD steps change, relative to the largest change of a weight. In float32, weights are some thousand times larger than what
    changes, which leaves three to four digits. Under autocast projections round to bfloat16 (2^-8), after other roundings than before."""
    folder = folder_of(family, tmp_path)
    tolerance = 1e-3 if precision == "no" else 6e-2

    def run(with_kernels: bool) -> tuple[list[float], dict[str, Tensor], str]:
        model = make_trainee(folder, kind, optimizer="SGD", schedule=None, mixed_precision=precision)
        handle = twinkle.kernelize(model) if with_kernels else None
        before = weights(model)
        losses = train(model, batches(3))
        text = model.get_train_configs()
        if handle is not None:
            handle.revert()
            assert "  kernel " not in model.get_train_configs()
        return losses, {name: value - before[name] for name, value in weights(model).items()}, text

    plain, fast = run(False), run(True)
    assert fast[0] == pytest.approx(plain[0], rel=1e-5 if precision == "no" else 5e-3)
    assert fast[1].keys() == plain[1].keys()
    errors = {name: float((fast[1][name] - value).abs().max() / value.abs().max()) for name, value in plain[1].items()}
    assert max(errors.values()) <= tolerance, errors
    short = {"qwen3": "Qwen3", "llama": "Llama"}[family]
    entry = f"  kernel {short}RMSNorm: rms_norm -> twinkle.plugins_builtin.kernel._rms_norm:RMSNormKernel [builtin]"
    assert entry in fast[2]


@pytest.mark.parametrize("first", ["kernels", "adapter"])
def test_lora_on_and_inside_of_replaced_layers_keeps_working(first: str, tmp_path: Path) -> None:
    """Adapters on the projections, and a norm that is trained as a copy: before the kernels come, and after."""
    model = TransformersModel(model_id=folder_of("qwen3", tmp_path), mixed_precision="no")
    config = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], modules_to_save=["input_layernorm"], init_lora_weights=False)
    if first == "kernels":
        twinkle.kernelize(model)
    torch.manual_seed(1)
    model.add_adapter_to_model("default", config)
    if first == "adapter":
        handle = twinkle.kernelize(model)
        assert handle.replaced["Qwen3RMSNorm"] == 9 + 2  # the copies are layers too
    model.set_optimizer("SGD", lr=1e-2)
    fast = train(model, batches(2)), weights(model)

    plain_model = TransformersModel(model_id=tmp_path, mixed_precision="no")
    torch.manual_seed(1)
    plain_model.add_adapter_to_model("default", config)
    plain_model.set_optimizer("SGD", lr=1e-2)
    plain = train(plain_model, batches(2)), weights(plain_model)
    assert fast[0] == pytest.approx(plain[0], rel=1e-5)
    assert any("input_layernorm" in name for name in plain[1])
    for name, value in plain[1].items():
        torch.testing.assert_close(fast[1][name], value, rtol=1e-4, atol=1e-6)


def test_dropout_does_not_disturb_the_trial(tmp_path: Path) -> None:
    model = TransformersModel(model_id=folder_of("llama", tmp_path), mixed_precision="no")
    model.add_adapter_to_model("default", LoraConfig(r=4, lora_dropout=0.5, target_modules="all-linear", init_lora_weights=False))
    model.model.train()
    with twinkle.kernelize(model) as handle:
        assert handle.left == {}
        assert handle.replaced == FAMILIES["llama"][2]


def test_a_window_reaches_attention_over_a_flat_batch(tmp_path: Path) -> None:
    """Where no mask says it."""
    make("qwen3", vocab_size=704, use_sliding_window=True, sliding_window=3, layer_types=["sliding_attention"] * 2).save_pretrained(
        tmp_path
    )
    model = TransformersModel(model_id=make_tokenizer(tmp_path), mixed_precision="no")
    batch = batches(1)[0]
    expected = model.forward_only(inputs=batch)["logps"]
    with twinkle.kernelize(model, mode="inference"):
        torch.testing.assert_close(model.forward_only(inputs=batch)["logps"], expected)


def own_linear(layer: Any, input: Tensor) -> Tensor:
    return nn.functional.linear(input, layer.weight, layer.bias)


class OwnLinearPatch:
    """Over the output projection."""

    def apply(self, target: Any, journal: Any) -> None:
        journal.setattr(target.lm_head, "forward", partial(own_linear, target.lm_head))


@pytest.mark.parametrize("way", ["kernels", "patch"])
def test_the_head_is_computed_in_tiles_again_after_a_revert(way: str, tmp_path: Path) -> None:
    """Mutant: whole logits for good, once something stood over the output projection."""
    model = TransformersModel(model_id=folder_of("llama", tmp_path), mixed_precision="no")
    projection = model._passes._projection
    assert projection is not None
    with model.kernelize({"Linear": own_linear}) if way == "kernels" else model.apply_patch(OwnLinearPatch):
        assert model._passes._projection is None
    assert model._passes._projection is projection


def test_the_rotation_of_a_family_by_the_path_of_its_function() -> None:
    model, before = make("qwen3"), modeling_qwen3.apply_rotary_pos_emb
    expected = step(model)
    with twinkle.kernelize(model, {"transformers.models.qwen3.modeling_qwen3.apply_rotary_pos_emb": "rope"}) as handle:
        assert_close(step(model), expected, STEP)
        assert "for every model of this process" in handle.limits[0]
        q, angles = torch.randn(2, 5, 3, 8), torch.randn(2, 5, 8)
        by_hand = before(q, q, angles.cos(), angles.sin(), unsqueeze_dim=2)
        found = modeling_qwen3.apply_rotary_pos_emb(q, q, angles.cos(), angles.sin(), unsqueeze_dim=2)
        # Rotation by pairs: the function takes any cosines, and both halves theirs.
        torch.testing.assert_close(found, by_hand)
    assert modeling_qwen3.apply_rotary_pos_emb is before


class OffsetRMSNorm(LlamaRMSNorm):
    """Looks like a layer that fits."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        normed: Tensor = super().forward(hidden_states)
        return normed + normed / self.weight


def test_a_layer_that_computes_something_else_is_found_out_on_trial() -> None:
    gemma = GemmaForCausalLM(GemmaConfig(**HEAD))
    nn.init.constant_(gemma.model.norm.weight, 0.5)
    with pytest.raises(UnsuitableLayer, match=r"rms_norm does not fit GemmaRMSNorm: on trial it gave"):
        twinkle.kernelize(gemma, {"GemmaRMSNorm": "rms_norm"})
    with pytest.raises(UnsuitableLayer, match=r"rms_norm does not fit OffsetRMSNorm: on trial it gave"):
        twinkle.kernelize(nn.Sequential(OffsetRMSNorm(8)), {"OffsetRMSNorm": "rms_norm"})


def test_norms_whose_weights_are_stored_less_one_have_their_offset() -> None:
    gemma = GemmaForCausalLM(GemmaConfig(**HEAD))
    for name, weight in gemma.named_parameters():
        if "norm" in name:
            nn.init.uniform_(weight, -0.5, 0.5)
    expected = step(gemma)
    with twinkle.kernelize(gemma, {"GemmaRMSNorm": RMSNormKernel(offset=1.0)}) as handle:
        assert handle.replaced == {"GemmaRMSNorm": 5}
        assert_close(step(gemma), expected, STEP)


def test_a_layer_without_what_the_kernel_reads_is_refused() -> None:
    with pytest.raises(UnsuitableLayer, match="rms_norm does not fit LayerNorm: it would leave out what the layer does with bias, elem"):
        twinkle.kernelize(nn.Sequential(nn.LayerNorm(8)), {"LayerNorm": "rms_norm"})
    with pytest.raises(
        UnsuitableLayer, match=r"swiglu does not fit Linear: expected the attributes act_fn, .*, it has no act_fn, down_proj"
    ):
        twinkle.kernelize(nn.Sequential(nn.Linear(8, 8)), {"Linear": "swiglu"})


def test_every_layer_is_tried() -> None:
    """Those of one class may differ. Mutant: only the first of a class is."""

    class LateOffset(OffsetRMSNorm):
        def __init__(self, layer_idx: int) -> None:
            super().__init__(8)
            self._is_late = layer_idx > 0

        def forward(self, hidden_states: Tensor) -> Tensor:
            return (OffsetRMSNorm if self._is_late else LlamaRMSNorm).forward(self, hidden_states)

    model = nn.Sequential(LateOffset(0), LateOffset(1))
    with pytest.raises(UnsuitableLayer, match="rms_norm does not fit LateOffset: on trial it gave"):
        twinkle.kernelize(model, {"LateOffset": "rms_norm"})
    assert "forward" not in vars(model[0])


@pytest.mark.parametrize(
    ("cls", "config", "mapping", "left_out"),
    [
        (Gemma2ForCausalLM, Gemma2Config(**HEAD), {"Gemma2Attention": "rope"}, "attn_logit_softcapping"),
        (SmolLM3ForCausalLM, SmolLM3Config(**SIZES, pad_token_id=0), {"SmolLM3Attention": "rope"}, "use_rope"),
    ],
)
def test_what_a_trial_would_not_show_is_refused_by_its_attribute(cls: Any, config: Any, mapping: dict[str, str], left_out: str) -> None:
    """A cap of logits that random weights never reach; layers that do not rotate, of a class that does."""
    with pytest.raises(UnsuitableLayer, match=rf"rope does not fit \w+: it would leave out what the layer does with .*{left_out}"):
        twinkle.kernelize(cls(config), mapping)


@pytest.mark.parametrize("extra", [nn.Dropout(0.5), nn.Parameter(torch.zeros(48))])
def test_a_part_that_is_idle_on_trial_is_not_left_out(extra: Any) -> None:
    """Dropout before training, a bias at its start."""
    model = make("llama")
    model.model.layers[1].mlp.extra = extra
    with pytest.raises(UnsuitableLayer, match="swiglu does not fit LlamaMLP: it would leave out what the layer does with extra"):
        twinkle.kernelize(model, {"LlamaMLP": "swiglu"})


def test_a_trial_that_fails_says_for_which_layer() -> None:
    model = make("qwen3")
    norm = model.model.layers[1].self_attn.q_norm
    norm.eps = norm.variance_epsilon
    del norm.variance_epsilon
    expected = "qk_norm_rope does not fit Qwen3Attention: trying it raised AttributeError: .*has no attribute 'variance_epsilon'"
    with pytest.raises(UnsuitableLayer, match=expected):
        twinkle.kernelize(model, {"Qwen3Attention": "qk_norm_rope"})


def test_a_layer_that_gives_zeros_cannot_be_tried() -> None:
    model = make("llama")
    nn.init.zeros_(model.model.layers[1].mlp.down_proj.weight)
    with twinkle.kernelize(model) as handle:
        assert handle.replaced["LlamaMLP"] == 1
        assert handle.left["LlamaMLP"] == "swiglu cannot be tried on this LlamaMLP, which gives zeros whatever comes in"


def test_weights_of_integers_are_tried_with_numbers_of_the_default_type() -> None:
    """As those of quantised projections are; the norms beside them stay what they were."""

    class Quantised(nn.Module):
        def __init__(self, layer: nn.Linear) -> None:
            super().__init__()
            self.weight = nn.Parameter((layer.weight.data * 256).round().to(torch.int8), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.weight.to(x.dtype) / 256).T

    model = make("llama")
    for layer in model.model.layers:
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(layer.mlp, name, Quantised(getattr(layer.mlp, name)))
    expected = step(model)
    with twinkle.kernelize(model) as handle:
        assert handle.replaced == FAMILIES["llama"][2]
        assert_close(step(model), expected, STEP)


def test_an_activation_that_is_no_silu_is_left_and_said() -> None:
    model = make("qwen3", hidden_act="gelu")
    expected = step(model)
    with twinkle.kernelize(model) as handle:
        assert handle.left["Qwen3MLP"].startswith("swiglu does not fit this Qwen3MLP: expected the activation SiLU, got")
        assert "Qwen3MLP" not in handle.replaced
        assert_close(step(model), expected, STEP)
    with pytest.raises(UnsuitableLayer, match="expected the activation SiLU"):
        twinkle.kernelize(model, {"Qwen3MLP": "swiglu"})


@pytest.mark.parametrize("note", ["has_bias", "is_transposed", "_is_expert_parallel"])
def test_experts_in_another_layout_are_refused(note: str) -> None:
    model = make("qwen3_moe")
    setattr(model.model.layers[1].mlp.experts, note, True)
    with pytest.raises(UnsuitableLayer, match=rf"moe_experts does not fit this Qwen3MoeExperts: expected .* it has .*{note}': True"):
        twinkle.kernelize(model, {"Qwen3MoeExperts": "moe_experts"})


def test_weights_that_are_not_here_cannot_be_tried() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(FAMILIES["llama"][1])
    with pytest.raises(UnsuitableLayer, match="call kernelize after a model is loaded and before it is sharded"):
        twinkle.kernelize(model, {"LlamaRMSNorm": "rms_norm"})


def test_a_layer_that_somebody_gave_a_forward_pass_is_left_by_the_built_in_kernels() -> None:
    model = make("llama")
    model.model.norm.forward = lambda x: x
    with twinkle.kernelize(model) as handle:
        assert handle.replaced["LlamaRMSNorm"] == 4
        assert "a forward pass of its own already" in handle.left["LlamaRMSNorm"]


def test_layers_are_tried_where_they_are_whatever_the_default_device() -> None:
    model = make("qwen3_moe")
    with torch.device("meta"), twinkle.kernelize(model) as handle:
        assert handle.replaced == FAMILIES["qwen3_moe"][2] and handle.left == {}


def test_layers_with_kernels_can_be_pickled() -> None:
    layers = nn.ModuleList(layer for layer in make("llama").modules() if type(layer).__name__ in ("LlamaMLP", "LlamaRMSNorm"))
    forwards = [attention_with(_rotate), attention_with(_normalise_and_rotate)]
    x = torch.randn(3, 32)
    with twinkle.kernelize(layers):
        twins, again = pickle.loads(pickle.dumps((layers, forwards)))
        for layer, twin in zip(layers, twins, strict=True):
            assert torch.equal(twin(x), layer(x))
    assert [part.args for part in again] == [part.args for part in forwards]


def test_trying_changes_neither_random_numbers_nor_modes() -> None:
    model = make("qwen3").train()
    model.model.layers[0].eval()
    before, modes = torch.get_rng_state(), [layer.training for layer in model.modules()]
    twinkle.kernelize(model).revert()
    assert torch.equal(torch.get_rng_state(), before)
    assert [layer.training for layer in model.modules()] == modes


def test_linear_logprob_names_no_layer() -> None:
    with pytest.raises(InvalidArgument, match="linear_logprob replaces functions"):
        twinkle.kernelize(make("llama"), {"Linear": "linear_logprob"})
