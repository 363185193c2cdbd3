"""Whether a layer computes what a kernel does: by trying it on a few numbers, since a class name promises nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from twinkle.core.errors import UnsuitableLayer
from twinkle.core.layer_class import class_attribute

# Of the largest number. The kernels round where transformers' layers do, or once less; another formula is off by tens of per cent.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}


def check_attributes(layer: nn.Module, needed: Collection[str], kernel: str, *, idle: Collection[str] = ()) -> None:
    """Raises :class:`UnsuitableLayer` where ``layer`` lacks one of ``needed``, or has what the kernel would leave out.

    A trial alone is not enough: a bias is zero at first, a cap on logits shows with large ones, and dropout when it trains.

    Args:
        idle: attributes that have no effect on numbers, or that somebody else reads.
    """
    lacking = sorted(set(needed) - set(dir(layer)))
    if lacking:
        raise UnsuitableLayer(
            f"{kernel} does not fit {type(layer).__name__}: expected the attributes {', '.join(sorted(needed))}, "
            f"it has no {', '.join(lacking)}"
        )
    own = {name for name in vars(layer) if not name.startswith("_")}
    own |= {name for name, _ in (*layer.named_children(), *layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))}
    unread = sorted(own.difference(needed, idle, ("config", "training", "forward")))
    if unread:
        raise UnsuitableLayer(
            f"{kernel} does not fit {type(layer).__name__}: it would leave out what the layer does with {', '.join(unread)}"
        )


def check_silu(layer: nn.Module, kernel: str) -> None:
    """Raises :class:`UnsuitableLayer` where ``layer.act_fn`` is another function than ``x sigmoid(x)``."""
    x = torch.linspace(-4, 4, 9, device="cpu")
    activation: Any = layer.act_fn
    with torch.no_grad():
        if not torch.allclose(activation(x), x * torch.sigmoid(x), atol=1e-5):
            raise UnsuitableLayer(f"{kernel} does not fit this {type(layer).__name__}: expected the activation SiLU, got {activation}")


def random_input(layer: nn.Module, *shape: int) -> Tensor:
    """Fixed random numbers on the device of the layer's weights, in the dtype of the first one that is floating-point.

    Raises:
        UnsuitableLayer: its weights are not here.
    """
    from torch.distributed.tensor import DTensor  # costs 470 modules

    weights = [*layer.parameters(), *layer.buffers()]
    if not weights or any(weight.is_meta or isinstance(weight.data, DTensor) for weight in weights):
        raise UnsuitableLayer(
            f"the weights of this {type(layer).__name__} are not here: call kernelize after a model is loaded and before it is sharded"
        )
    # Quantised weights are integers, and take numbers of any floating-point type.
    dtype = next((weight.dtype for weight in weights if weight.is_floating_point()), torch.get_default_dtype())
    generator = torch.Generator("cpu").manual_seed(shape[-1])
    return torch.randn(shape, generator=generator, device="cpu").to(weights[0].device, dtype)


def check_equal(layer: nn.Module, forward: Callable[..., Any], inputs: Collection[Any], kernel: str) -> None:
    """Raises :class:`UnsuitableLayer` unless ``forward(layer, *inputs)`` is what the class of ``layer`` gives, dropout aside."""
    own = class_attribute(type(layer), "forward")
    try:
        with torch.no_grad(), _evaluating(layer):
            expected, found = _first(own(layer, *inputs)), _first(forward(layer, *inputs))
    except Exception as failure:
        raise UnsuitableLayer(
            f"{kernel} does not fit {type(layer).__name__}: trying it raised {type(failure).__name__}: {failure}"
        ) from failure
    scale = expected.abs().max().double()
    if scale == 0:
        raise UnsuitableLayer(f"{kernel} cannot be tried on this {type(layer).__name__}, which gives zeros whatever comes in")
    error = (found.double() - expected.double()).abs().max() / scale if found.shape == expected.shape else float("inf")
    if not error <= _TOLERANCE[expected.dtype]:
        raise UnsuitableLayer(
            f"{kernel} does not fit {type(layer).__name__}: on trial it gave {_shown(found)} where the layer gives {_shown(expected)}"
        )


@contextmanager
def _evaluating(layer: nn.Module) -> Iterator[None]:
    before = [(part, part.training) for part in layer.modules()]
    for part, _ in before:
        part.training = False
    try:
        yield
    finally:
        for part, was_training in before:
            part.training = was_training


def _first(output: Any) -> Tensor:
    tensor: Tensor = output if isinstance(output, Tensor) else output[0]
    return tensor


def _shown(tensor: Tensor) -> str:
    numbers = ", ".join(f"{value:.4g}" for value in tensor.flatten()[:3].tolist())
    return f"{tuple(tensor.shape)} [{numbers}, ...]"
