"""What a kernel keeps: the numbers of its reference and of its layers, forwards and backwards, for whatever layout it is given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from twinkle.core.contracts.kernel import LayerKernel
from twinkle.testing.check import NotApplicable, check, expect
from twinkle.testing.example import Example
from twinkle.testing.specimen import Specimen

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class KernelExample(Example):
    """For kernels."""

    tensors: Sequence[Callable[[], Sequence[Tensor]]]
    """Makes the arguments, float32 on the CPU: one function a shape, odd sizes and a dimension of 1 among them."""
    tolerance: float = 1e-5
    """Relative and absolute, in float32; 2 % is allowed in bfloat16, which keeps 3 digits."""
    runs_in_bfloat16: bool = True
    """Whether it takes bfloat16."""
    layers: Sequence[Callable[[], tuple[nn.Module, Sequence[Any]]]] = ()
    """For one with ``layer_forward``: makes a small layer, on the CPU and without dropout, and inputs for it; one function or more for each
    class that the kernel names. The check fills the weights."""


def _outputs(result: Any) -> list[Tensor]:
    import torch

    return [result] if isinstance(result, torch.Tensor) else [value for value in result if isinstance(value, torch.Tensor)]


def _moved(tensors: Sequence[Tensor], device: str, dtype: Any = None) -> list[Tensor]:
    return [t.to(device, dtype) if t.is_floating_point() else t.to(device) for t in tensors]


def _with_gradient(function: Callable[..., Any], tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and the gradient of a fixed mixture of them."""
    import torch

    leaves = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in tensors]
    outputs = _outputs(function(*leaves))
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(o.shape, generator=generator).to(o.device, o.dtype) for o in outputs]
    total = torch.stack([(o * w).sum() for o, w in zip(outputs, weights, strict=True)]).sum()
    gradients = torch.autograd.grad(total, [leaf for leaf in leaves if leaf.requires_grad], allow_unused=True)
    return [o.detach() for o in outputs], [torch.zeros(()) if g is None else g for g in gradients]


def _close(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float, what: str) -> None:
    import torch

    expect(len(found) == len(expected), f"{what}: {len(found)} tensors instead of {len(expected)}")
    for one, other in zip(found, expected, strict=True):
        expect(one.shape == other.shape, f"{what}: shape {tuple(one.shape)} instead of {tuple(other.shape)}")
        scale = max(float(other.abs().max()) if other.numel() else 0.0, 1e-6)
        error = float((one.float() - other.float()).abs().max()) / scale if one.numel() else 0.0
        expect(torch.isfinite(one).all() and error <= tolerance, f"{what}: the largest error is {error:.2g} of the largest value")


def _compare(component: Specimen, device: str) -> None:
    kernel, example = component.build(), component.example_of(KernelExample)
    for make in example.tensors:
        tensors = _moved(make(), device)
        shapes = f"shapes {[tuple(t.shape) for t in tensors]}"
        found, expected = _with_gradient(kernel, tensors), _with_gradient(kernel.reference, tensors)
        _close(found[0], expected[0], example.tolerance, shapes)
        _close(found[1], expected[1], 10 * example.tolerance, f"{shapes}, gradients")


@check("kernel", timeout_s=180)
def equals_its_reference(component: Specimen) -> None:
    """Outputs and gradients are those of reference(), in float32, for every shape of the example."""
    _compare(component, "cpu")


@check("kernel", tier="gpu", timeout_s=180)
def equals_its_reference_on_the_accelerator(component: Specimen) -> None:
    """Outputs and gradients are those of reference(), in float32, on CUDA."""
    import torch

    if not torch.cuda.is_available():
        raise NotApplicable("there is no CUDA device here")
    _compare(component, "cuda")


@check("kernel", timeout_s=180)
def bfloat16_stays_close(component: Specimen) -> None:
    """On bfloat16 tensors the outputs are within 2 % of the reference in float32."""
    kernel, example = component.build(), component.example_of(KernelExample)
    if not example.runs_in_bfloat16:
        raise NotApplicable("the example says that it takes no bfloat16")
    import torch

    for make in example.tensors:
        rounded = _moved(make(), "cpu", torch.bfloat16)
        expected = kernel.reference(*_moved(rounded, "cpu", torch.float32))
        _close(_outputs(kernel(*rounded)), _outputs(expected), 0.02, f"shapes {[tuple(t.shape) for t in rounded]}")


@check("kernel", timeout_s=180)
def takes_any_strides(component: Specimen) -> None:
    """Tensors that are not contiguous give the same outputs: a view is what callers pass."""
    kernel, example = component.build(), component.example_of(KernelExample)
    for make in example.tensors:
        tensors = make()
        strided = [t.repeat_interleave(2, dim=-1)[..., ::2] if t.dim() else t for t in tensors]
        _close(_outputs(kernel(*strided)), _outputs(kernel(*tensors)), example.tolerance, "views with a stride of 2")


@check("kernel", timeout_s=180)
def gives_the_same_again(component: Specimen) -> None:
    """The same tensors give the same outputs and gradients, to the bit, and stay as they are."""
    import torch

    kernel = component.build()
    for make in component.example_of(KernelExample).tensors:
        tensors = make()
        before = [t.clone() for t in tensors]
        first, again = _with_gradient(kernel, tensors), _with_gradient(kernel, tensors)
        for one, other in zip([*first[0], *first[1]], [*again[0], *again[1]], strict=True):
            expect(torch.equal(one, other), "the second call gives other bits")
        kernel(*tensors)
        expect(all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True)), "it changed its arguments in place")


def _fill(layer: nn.Module, seed: int) -> None:
    """Random weights: with those of a fresh layer, a norm's ones or a bias of zeros, what a kernel leaves out would not be seen."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)


def _layer_with_gradient(layer: nn.Module, inputs: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of ``layer``, and the gradient of a mixture of them by its floating-point inputs and its weights."""
    import torch

    weights = dict(layer.named_parameters())
    places = [i for i, value in enumerate(inputs) if isinstance(value, torch.Tensor)]

    def run(*tensors: Tensor) -> Any:
        given = dict(zip(places, tensors, strict=False))
        named = dict(zip(weights, tensors[len(places) :], strict=True))
        return torch.func.functional_call(layer, named, tuple(given.get(i, value) for i, value in enumerate(inputs)))

    return _with_gradient(run, [*(inputs[i] for i in places), *weights.values()])


@check("kernel", timeout_s=180)
def layers_stay_what_they_are(component: Specimen) -> None:
    """A layer that it takes over gives the same outputs and gradients as before, in float32, for every class of 'layers'; so does a copy
    of that layer with other weights: layer_forward() keeps nothing of a layer."""
    kernel, example = component.build(), component.example_of(KernelExample)
    if not isinstance(kernel, LayerKernel):
        raise NotApplicable("it has no layer_forward: it takes over no layer")
    tried = set()
    for make in example.layers:
        layer, inputs = make()
        tried.add(type(layer).__name__)
        _fill(layer, seed=1)
        forward = kernel.layer_forward(layer)
        plain, replaced = copy.deepcopy(layer), copy.deepcopy(layer)
        for twin in (plain, replaced):
            _fill(twin, seed=2)
        replaced.forward = partial(forward, replaced)
        found, expected = _layer_with_gradient(replaced, inputs), _layer_with_gradient(plain, inputs)
        _close(found[0], expected[0], example.tolerance, type(layer).__name__)
        _close(found[1], expected[1], 10 * example.tolerance, f"{type(layer).__name__}, gradients")
    untried = sorted(kernel.layers - tried)
    expect(
        tried and not untried,
        f"it takes over {', '.join(untried) or 'layers'}, with which it was not tried: pass "
        f"examples={{{component.id!r}: KernelExample(layers=[...])}} with a function that makes such a layer and inputs for it",
    )


CHECKS = (
    equals_its_reference,
    equals_its_reference_on_the_accelerator,
    bfloat16_stays_close,
    takes_any_strides,
    gives_the_same_again,
    layers_stay_what_they_are,
)
