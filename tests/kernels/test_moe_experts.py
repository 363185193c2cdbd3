"""Grouped experts equal a dense loop in float64, in value and gradient, however the router spreads the tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import Qwen3MoeConfig
from transformers.integrations.moe import ExpertsInterface
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts, Qwen3MoeSparseMoeBlock

from twinkle.core.errors import InvalidArgument
from twinkle.kernels import _huge_page
from twinkle.kernels.moe_experts import moe_experts, moe_experts_ref

Problem = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def problem(tokens: int, size: int, width: int, experts: int, chosen: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Problem:
    """Activations of size one everywhere; distinct experts a token, as a router picks them, where there are enough."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if chosen <= experts:
        index = randn(tokens, experts).topk(chosen).indices
    else:
        index = torch.randint(0, experts, (tokens, chosen), generator=generator)
    weight = torch.rand(tokens, chosen, generator=generator, dtype=torch.float64) + 0.1
    gate_up, down = randn(experts, 2 * width, size) / size**0.5, randn(experts, size, width) / width**0.5
    return randn(tokens, size).to(dtype), gate_up.to(dtype), down.to(dtype), index, weight.to(dtype)


def leaves(tensors: Problem) -> Problem:
    hidden, gate_up, down, index, weight = tensors
    return (
        hidden.detach().clone().requires_grad_(),
        gate_up.detach().clone().requires_grad_(),
        down.detach().clone().requires_grad_(),
        index,
        weight.detach().clone().requires_grad_(),
    )


def value_and_gradients(run: Callable[..., Tensor], tensors: Problem, upstream: Tensor) -> list[Tensor]:
    inputs = leaves(tensors)
    out = run(*inputs)
    (out * upstream.to(out.dtype)).sum().backward()
    gradients = [t.grad for t in inputs if t.requires_grad]
    return [out.detach(), *(g for g in gradients if g is not None)]


def assert_equal_to_reference(tensors: Problem, rtol: float, atol: float) -> None:
    upstream = torch.randn(tensors[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = value_and_gradients(moe_experts_ref, tuple(t.double() if t.is_floating_point() else t for t in tensors), upstream)
    ours = value_and_gradients(moe_experts, tensors, upstream)
    assert len(ours) == len(exact) == 5
    for seen, wanted in zip(ours, exact, strict=True):
        assert seen.dtype == tensors[0].dtype
        torch.testing.assert_close(seen.double(), wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize(
    ("tokens", "size", "width", "experts", "chosen"),
    [
        (13, 5, 3, 4, 2),
        (1, 5, 3, 4, 2),
        (13, 5, 3, 4, 1),
        (13, 5, 3, 1, 1),
        (2, 7, 3, 11, 3),
        (13, 8, 4, 3, 3),
        (0, 5, 3, 4, 2),
        (9, 5, 3, 2, 5),
    ],
)
def test_values_and_gradients_equal_the_dense_loop(tokens: int, size: int, width: int, experts: int, chosen: int) -> None:
    """Float64 against float64 in another order of summation. Of 11 experts most have no token; 5 of 2 repeat some."""
    assert_equal_to_reference(problem(tokens, size, width, experts, chosen), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "index",
    [[[2, 2], [2, 2], [2, 2]], [[0, 1], [0, 1], [0, 1]], [[3, 3], [0, 3], [1, 1]], [[3, 2], [2, 1], [1, 0]]],
    ids=["one expert takes all", "two take all", "an expert twice in a row", "in falling order"],
)
@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32])
def test_any_routing_is_right(index: list[list[int]], index_dtype: torch.dtype) -> None:
    hidden, gate_up, down, _, weight = problem(3, 5, 3, 4, 2)
    assert_equal_to_reference((hidden, gate_up, down, torch.tensor(index, dtype=index_dtype), weight), rtol=1e-11, atol=1e-12)


def test_the_derivative_is_that_of_finite_differences() -> None:
    hidden, gate_up, down, index, weight = leaves(problem(4, 3, 2, 3, 2))
    assert torch.autograd.gradcheck(lambda h, g, d, w: moe_experts(h, g, d, index, w), (hidden, gate_up, down, weight))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize(
    ("size", "width"),
    [(16, 8), (10, 5), (24, 5), (9, 8), (16, 1), (1, 8), (1, 1)],
    ids=["one call a product", "a loop", "both", "both ways round", "a single column", "a single row", "a single number"],
)
def test_lower_precisions_stay_within_their_rounding(dtype: torch.dtype, tolerance: float, size: int, width: int) -> None:
    """Values of size one are rounded about four times on the way (products, gate, weights): some units of the last place."""
    assert_equal_to_reference(problem(37, size, width, 6, 2, dtype), rtol=tolerance, atol=4 * tolerance)


def test_both_ways_of_multiplying_rows_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    grouped_mm = torch.nn.functional.grouped_mm

    def counted(*arguments: Tensor, **offsets: Tensor) -> Tensor:
        calls.append(arguments)
        return grouped_mm(*arguments, **offsets)

    monkeypatch.setattr(torch.nn.functional, "grouped_mm", counted)
    assert_equal_to_reference(problem(37, 16, 8, 6, 2, torch.float32), rtol=1e-5, atol=1e-5)
    assert len(calls) == 4
    assert_equal_to_reference(problem(37, 10, 5, 6, 2, torch.float32), rtol=1e-5, atol=1e-5)
    assert len(calls) == 4


def test_it_equals_the_layer_of_transformers() -> None:
    """Qwen3's own loop over experts, in the same precision."""
    torch.manual_seed(0)
    layer = Qwen3MoeExperts(
        Qwen3MoeConfig(hidden_size=16, moe_intermediate_size=8, num_experts=6, num_experts_per_tok=2, experts_implementation="eager")
    )
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    hidden, _, _, index, weight = problem(19, 16, 8, 6, 2, torch.float32)
    seen = []
    for run in (lambda h, w: layer(h, index, w), lambda h, w: moe_experts(h, layer.gate_up_proj, layer.down_proj, index, w)):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        layer.zero_grad()
        run(h, w).square().sum().backward()
        seen.append([t.grad.clone() for t in (h, w, *layer.parameters()) if t.grad is not None])
    for theirs, ours in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_adapters_of_peft_get_their_gradients_through_it() -> None:
    """PEFT merges ``B A`` into the stacked weight for the forward pass; ours is looked up by name where transformers looks."""
    ExpertsInterface.register("moe_experts_of_test", lambda m, h, i, w: moe_experts(h, m.gate_up_proj, m.down_proj, i, w))
    config = Qwen3MoeConfig(hidden_size=16, moe_intermediate_size=8, num_experts=6, num_experts_per_tok=2, experts_implementation="eager")
    torch.manual_seed(0)
    block = Qwen3MoeSparseMoeBlock(config)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    targets = ["experts.gate_up_proj", "experts.down_proj"]
    model = get_peft_model(block, LoraConfig(r=3, target_modules=[], target_parameters=targets, init_lora_weights=False))
    hidden = torch.randn(1, 19, 16)
    seen = []
    for implementation in ("eager", "moe_experts_of_test"):
        config._experts_implementation = implementation
        model.zero_grad()
        out = model(hidden)
        out.square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        assert len(gradients) == 4 and all("lora_" in name for name in gradients)
        seen.append([out.detach(), *gradients.values()])
    for theirs, ours in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("trained", [(0,), (1,), (2,), (4,), (0, 4), (1, 2), (0, 2), (1, 4)], ids=str)
def test_only_what_is_trained_gets_a_gradient(trained: tuple[int, ...]) -> None:
    tensors = problem(7, 5, 3, 4, 2)
    whole, some = leaves(tensors), leaves(tensors)
    for position in (0, 1, 2, 4):
        some[position].requires_grad_(position in trained)
    for inputs in (whole, some):
        moe_experts(*inputs).square().sum().backward()
    for position in (0, 1, 2, 4):
        if position in trained:
            torch.testing.assert_close(some[position].grad, whole[position].grad)
        else:
            assert some[position].grad is None


def test_an_expert_without_a_token_gets_zeros_whatever_lay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_huge_page, "empty", lambda shape, dtype, device: torch.full(shape, torch.nan, dtype=dtype, device=device))
    hidden, gate_up, down, index, weight = leaves(problem(5, 16, 8, 4, 2, torch.float32))
    index = index.clamp(max=1)
    moe_experts(hidden, gate_up, down, index, weight).sum().backward()
    for parameter in (gate_up, down):
        assert parameter.grad is not None and parameter.grad.is_contiguous()
        assert torch.equal(parameter.grad[2:], torch.zeros_like(parameter.grad[2:]))
        assert parameter.grad[:2].abs().min(dim=0).values.max() > 0


def test_non_contiguous_inputs() -> None:
    hidden, gate_up, down, index, weight = problem(13, 16, 8, 4, 2, torch.float32)
    strided = (hidden.T.contiguous().T, gate_up.transpose(1, 2).contiguous().transpose(1, 2), down.flip(0).flip(0)[:, :, :])
    every_second = torch.stack([index, index], dim=-1)[..., 0], torch.stack([weight, weight], dim=-1)[..., 0]
    upstream = torch.ones(1).expand(13, 16)
    plain = value_and_gradients(moe_experts, (hidden, gate_up, down, index, weight), upstream)
    inputs = [t.requires_grad_() for t in (*strided, every_second[1])]
    out = moe_experts(inputs[0], inputs[1], inputs[2], every_second[0], inputs[3])
    gradients = torch.autograd.grad(out, inputs, upstream)
    for seen, wanted in zip((out, *gradients), plain, strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("expanded", ["experts", "rows", "columns", "all"])
def test_expanded_weights_are_taken(expanded: str) -> None:
    hidden, gate_up, down, index, weight = problem(13, 16, 8, 4, 2, torch.float32)
    first = {"experts": slice(1), "rows": (slice(None), slice(1)), "columns": (..., slice(1)), "all": (slice(1), slice(1), slice(1))}[
        expanded
    ]
    wide = [t[first].expand(t.shape) for t in (gate_up, down)]
    found = moe_experts(hidden, *wide, index, weight)
    torch.testing.assert_close(found, moe_experts_ref(hidden, *wide, index, weight), rtol=1e-5, atol=1e-5)


def test_autocast_leaves_float64_alone() -> None:
    tensors = problem(13, 16, 8, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(moe_experts(*tensors), moe_experts_ref(*tensors), rtol=1e-11, atol=1e-12)


def test_autocast_multiplies_in_its_dtype_and_gives_back_ours() -> None:
    tensors = problem(13, 16, 8, 4, 2, torch.float32)
    exact = moe_experts_ref(*tensors)
    inputs = leaves(tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = moe_experts(*inputs)
    out.sum().backward()
    assert out.dtype == torch.float32 and not torch.equal(out, moe_experts(*tensors))
    torch.testing.assert_close(out, exact, rtol=3e-2, atol=1e-1)
    assert all(t.grad is not None and t.grad.dtype == torch.float32 for t in inputs if t.requires_grad)


def test_backward_may_run_twice() -> None:
    inputs = leaves(problem(5, 3, 2, 3, 2))
    out = moe_experts(*inputs).sum()
    differentiable = [t for t in inputs if t.requires_grad]
    first = torch.autograd.grad(out, differentiable, retain_graph=True)
    for once, twice in zip(first, torch.autograd.grad(out, differentiable), strict=True):
        assert torch.equal(once, twice)


def test_a_router_may_be_wider_than_the_experts() -> None:
    hidden, gate_up, down, index, weight = leaves(problem(13, 16, 8, 4, 2, torch.bfloat16))
    wide = weight.detach().float().requires_grad_()
    for w in (weight, wide):
        moe_experts(hidden, gate_up, down, index, w).sum().backward()
    assert wide.grad is not None and wide.grad.dtype == torch.float32
    torch.testing.assert_close(wide.grad.bfloat16(), weight.grad)


@pytest.mark.parametrize("wrong", [4, -1])
def test_an_index_outside_the_experts_is_refused(wrong: int) -> None:
    hidden, gate_up, down, index, weight = problem(3, 5, 3, 4, 2)
    index[1, 0] = wrong
    with pytest.raises(InvalidArgument, match=rf"in \[0, 4\).*{wrong}"):
        moe_experts(hidden, gate_up, down, index, weight)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    hidden, gate_up, down, index, weight = problem(3, 5, 3, 4, 2)
    with pytest.raises(InvalidArgument, match=r"gate_up should have shape \(4, 6, 5\).*has \(4, 5, 6\)"):
        moe_experts(hidden, gate_up.transpose(1, 2), down, index, weight)
    with pytest.raises(InvalidArgument, match=r"hidden should have shape \(3, 5\)"):
        moe_experts(hidden[:2], gate_up, down, index, weight)
    with pytest.raises(InvalidArgument, match="expert_weight should have shape"):
        moe_experts(hidden, gate_up, down, index, weight[:, :1])


def test_a_large_buffer_is_ordinary_memory() -> None:
    buffer = _huge_page.empty((3, 1024, 4096), torch.float32, torch.device("cpu"))  # 48 MiB
    assert buffer.is_contiguous() and buffer.data_ptr() % 4096 == 0
    other = _huge_page.empty((3, 1024, 4096), torch.float32, torch.device("cpu"))
    buffer.fill_(1.0)
    assert other.sum() == 0.0 and buffer.sum() == buffer.numel()
    view = buffer[2, 1023]
    del buffer
    assert view.sum() == 4096
