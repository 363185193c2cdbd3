"""A LoRA layer as one operation is PEFT's layer, and only where it is that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from twinkle.plugins_builtin.model.transformers._lora_linear import fused_adapters, lora_layers, lora_linear

I, O, R = 5, 7, 3  # noqa: E741  # the letters of the module under test


def operands(*sizes: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {"x": normal(*sizes, I), "weight_OI": normal(O, I), "bias_O": normal(O), "a_RI": normal(R, I), "b_OR": normal(O, R)}


def composed(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, dropped: Tensor | None = None) -> Tensor:
    """The definition: one product after the other."""
    y = x @ weight_OI.T + 0.7 * ((x if dropped is None else dropped) @ a_RI.T) @ b_OR.T
    return y if bias_O is None else y + bias_O


@pytest.mark.parametrize("trained", [("x", "a_RI", "b_OR"), ("x",), ("a_RI", "b_OR"), ("b_OR",)])
@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("sizes", [(1,), (2, 3), (0,), (4, 1, 2)])
def test_values_and_gradients_equal_the_definition(
    sizes: tuple[int, ...], with_bias: bool, with_dropout: bool, trained: tuple[str, ...]
) -> None:
    """Mutants: the scale left out of one of y, gz, gA, gB; gx without the adapter's part; gz in gx too; gA from x where z is meant."""
    given: dict[str, Any] = operands(*sizes)
    if not with_bias:
        given["bias_O"] = None
    leaves = [given[name].requires_grad_() for name in trained]
    if with_dropout:
        given["dropped"] = given["x"] * torch.linspace(0, 2, I, dtype=torch.float64)
    values = lora_linear(**given, scaling=0.7), composed(**given)
    weights = torch.linspace(-1, 2, values[0].numel(), dtype=torch.float64).view(values[0].shape)
    ours, expected = ([y, *torch.autograd.grad((y * weights).sum(), leaves, retain_graph=True)] for y in values)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)  # float64 in another order of sums of 7 numbers


def test_inputs_and_gradients_may_lie_in_any_order() -> None:
    given: dict[str, Any] = operands(3, 4)
    given["x"] = given["x"].transpose(0, 1).requires_grad_()
    gradients = [
        torch.autograd.grad(y, given["x"], torch.linspace(0, 1, y.numel(), dtype=torch.float64).view(O, 3, 4).permute(2, 1, 0))[0]
        for y in (lora_linear(**given, scaling=0.7), composed(**given))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


class Two(torch.nn.Module):
    """Two linear layers, one of them with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(I, O), torch.nn.Linear(O, I, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(torch.tanh(self.first(x)))
        return y


def make(dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(**{"r": R, "lora_alpha": 2, "target_modules": ["first", "second"], "init_lora_weights": False, **options})
    return get_peft_model(Two(), config).to(dtype)


def outcome(model: Any, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Output and gradients; the same random numbers each time."""
    torch.manual_seed(5)
    model.zero_grad(set_to_none=True)
    leaf = x.clone().requires_grad_()
    y = model(leaf)
    y.square().sum().backward()
    found = {"x": leaf, **dict(model.named_parameters())}
    return y.detach(), {name: p.grad for name, p in found.items() if p.grad is not None}


def outcomes(model: Any, x: Tensor) -> tuple[Any, Any]:
    """Fused where it may be, and as PEFT does it."""
    with fused_adapters(lora_layers(model)):
        fused = outcome(model, x)
        number = sum("forward" in vars(layer) for layer in lora_layers(model))
    return (*fused, number), outcome(model, x)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("is_training", [False, True])
def test_a_model_equals_what_peft_computes(dropout: float, is_training: bool) -> None:
    model = make(lora_dropout=dropout).train(is_training)
    (y, gradients, number), (expected, expected_gradients) = outcomes(model, torch.randn(6, I, dtype=torch.float64))
    assert number == 2
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert len(gradients) == 5
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-12, atol=1e-12)


def test_under_autocast_it_is_nearer_to_the_truth_than_peft() -> None:
    """One rounding of the sum instead of three: of the adapter's part, of its scaled value and of the sum."""
    errors = []
    x = torch.randn(400, I)
    model = make(torch.float32)
    with torch.no_grad():
        exact = make(torch.float64)(x.double())
        for layers in (lora_layers(model), []):
            with torch.autocast("cpu", torch.bfloat16), fused_adapters(layers):
                y = model(x)
                assert y.dtype == torch.bfloat16
                errors.append(float((y - exact).norm() / exact.norm()))
    assert errors[0] < errors[1] < 2**-6


def disable(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def merge(model: Any) -> None:
    model.merge_adapter()


def use_two(model: Any) -> None:
    model.add_adapter("other", LoraConfig(r=2, target_modules=["first", "second"], init_lora_weights=False))
    model.to(torch.float64).base_model.set_adapter(["default", "other"])


def train_the_base(model: Any) -> None:
    for layer in lora_layers(model):
        layer.base_layer.weight.requires_grad_()


def patch_the_base(model: Any) -> None:
    for layer in lora_layers(model):
        layer.base_layer.forward = lambda x, layer=layer: 2 * torch.nn.Linear.forward(layer.base_layer, x)


def patch_the_layer(model: Any) -> None:
    for layer in lora_layers(model):
        layer.forward = lambda x, layer=layer: 2 * type(layer).forward(layer, x)


def hook_a_part(model: Any) -> None:
    for layer in lora_layers(model):
        layer.lora_B["default"].register_forward_hook(lambda module, args, output: 2 * output)


def hook_the_dropout(model: Any) -> None:
    """Which is an Identity where nothing is dropped, and has a call of its own all the same."""
    for layer in lora_layers(model):
        layer.lora_dropout["default"].register_forward_hook(lambda module, args, output: 2 * output)


def hook_the_gradient_at_the_dropout(model: Any) -> None:
    for layer in lora_layers(model):
        layer.lora_dropout["default"].register_full_backward_hook(lambda module, inputs, outputs: (2 * outputs[0],))


def patch_the_dropout(model: Any) -> None:
    for layer in lora_layers(model):
        layer.lora_dropout["default"].forward = lambda x: 2 * x


def narrow_the_base(model: Any) -> None:
    for layer in lora_layers(model):
        layer.base_layer.to(torch.float32)
        layer.register_forward_pre_hook(lambda module, args: (args[0].float(),))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (disable, {}),
        (merge, {}),
        (use_two, {}),
        (train_the_base, {}),
        (patch_the_base, {}),
        (patch_the_layer, {}),
        (hook_a_part, {}),
        (hook_the_dropout, {}),
        (hook_the_dropout, {"lora_dropout": 0.5}),
        (hook_the_gradient_at_the_dropout, {}),
        (patch_the_dropout, {}),
        (narrow_the_base, {}),
        (lambda model: None, {"use_dora": True}),
        (lambda model: None, {"lora_bias": True, "target_modules": ["first"]}),
    ],
)
def test_whatever_else_is_at_work_runs_as_it_is(change: Callable[[Any], None], options: dict[str, Any]) -> None:
    """To the bit. Each condition left out is a mutant."""
    model = make(**options)
    change(model)
    (y, gradients, _), (expected, expected_gradients) = outcomes(model, torch.randn(6, I, dtype=torch.float64))
    assert torch.equal(y, expected)
    assert gradients.keys() == expected_gradients.keys()
    assert all(torch.equal(gradient, expected_gradients[name]) for name, gradient in gradients.items())


def test_after_the_block_layers_are_as_they_were() -> None:
    model = make()
    before = [dict(vars(layer)) for layer in lora_layers(model)]
    with pytest.raises(KeyError), fused_adapters(lora_layers(model)):
        raise KeyError
    assert [dict(vars(layer)) for layer in lora_layers(model)] == before
