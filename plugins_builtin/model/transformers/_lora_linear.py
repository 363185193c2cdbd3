"""A linear layer and its LoRA adapter as one operation.

::

    y = x W^T + b + (s z A^T) B^T        gx = g W        gz = (s g B) A        gA = (s g B)^T z        gB = g^T (s z A^T)

where ``z`` is ``x``, and ``gx`` the sum of both, or ``x`` after dropout.

The products are those of PEFT. The scale goes onto the ``[T, R]`` side, and what the adapter adds is added by the product that makes it, so
that nothing as wide as the layer is passed over for that. In PEFT it is four times: for the scale and the sum, and for their gradients.

Letters: T tokens, I and O input and output features, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLayer
from torch import Tensor
from torch.nn import Dropout, Identity, Linear

from twinkle.kernels._first_derivative import once_differentiable
from twinkle.plugins_builtin.model.transformers._hook import is_hooked
from twinkle.plugins_builtin.model.transformers._replaced_forward import replaced_forward


def lora_layers(model: torch.nn.Module) -> list[LoraLayer]:
    """The linear layers of ``model`` that PEFT gave adapters, but for those with quantised weights."""
    return [module for module in model.modules() if type(module) is LoraLayer]


@contextmanager
def fused_adapters(layers: Sequence[LoraLayer]) -> Iterator[None]:
    """Inside the block ``layers`` run as one operation each, where nothing but PEFT's plain LoRA is at work in them.

    It must span the backward pass too: layers that are recomputed must save there what they saved before.
    """
    with ExitStack() as stack:
        for layer in layers:
            if _is_vanilla(layer):
                stack.enter_context(replaced_forward(layer, _Fused.of(layer)))
        yield


def lora_linear(
    x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scaling: float, dropped: Tensor | None = None
) -> Tensor:
    """``x W^T + b + scaling (z A^T) B^T`` for ``x`` ``[..., I]``, all of one dtype; differentiable in all but ``W`` and ``b``.

    Args:
        dropped: ``z``, which is ``x`` after dropout; without, it is ``x``.
    """
    y: Tensor = _LoraLinear.apply(x, dropped, weight_OI, bias_O, a_RI, b_OR, scaling)  # type: ignore[no-untyped-call]
    return y


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dropped: Tensor | None, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor, scaling: float
    ) -> Tensor:
        x_TI = _matrix(x)
        z_TI = x_TI if dropped is None else _matrix(dropped)
        shrunk_TR = (z_TI @ a_RI.T).mul_(scaling)
        y_TO = x_TI @ weight_OI.T if bias_O is None else torch.addmm(bias_O, x_TI, weight_OI.T)
        torch.addmm(y_TO, shrunk_TR, b_OR.T, out=y_TO)
        ctx.save_for_backward(z_TI, weight_OI, a_RI, b_OR, shrunk_TR)
        ctx.scaling, ctx.shape, ctx.is_dropped = scaling, x.shape, dropped is not None
        return y_TO.view(*x.shape[:-1], y_TO.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        z_TI, weight_OI, a_RI, b_OR, shrunk_TR = ctx.saved_tensors
        needs_x, needs_dropped, _, _, needs_a, needs_b, _ = ctx.needs_input_grad
        g_TO = _matrix(g)
        g_shrunk_TR = (g_TO @ b_OR).mul_(ctx.scaling)
        g_x = g_dropped = g_a_RI = g_b_OR = None
        if needs_x:
            g_x_TI = g_TO @ weight_OI
            if not ctx.is_dropped:
                torch.addmm(g_x_TI, g_shrunk_TR, a_RI, out=g_x_TI)
            g_x = g_x_TI.view(ctx.shape)
        if needs_dropped:
            g_dropped = (g_shrunk_TR @ a_RI).view(ctx.shape)
        if needs_a:
            g_a_RI = g_shrunk_TR.T @ z_TI
        if needs_b:
            g_b_OR = (shrunk_TR.T @ g_TO).T  # half the time of g^T s on a CPU
        return g_x, g_dropped, None, None, g_a_RI, g_b_OR, None


def _matrix(x: Tensor) -> Tensor:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


@dataclass(frozen=True, slots=True)
class _Fused:
    """The forward pass of one layer, in place of its own."""

    own: Callable[..., Tensor]
    """Runs where the dtypes differ, or PEFT is asked for more."""
    weight_OI: Tensor
    bias_O: Tensor | None
    a_RI: Tensor
    b_OR: Tensor
    scaling: float
    dropout: torch.nn.Module

    @classmethod
    def of(cls, layer: LoraLayer) -> _Fused:
        """With what ``layer``, which is vanilla, has now."""
        [name] = layer.active_adapters
        base, a, b = layer.base_layer, layer.lora_A[name], layer.lora_B[name]
        return cls(layer.forward, base.weight, base.bias, a.weight, b.weight, layer.scaling[name], layer.lora_dropout[name])

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        operands = (x, self.weight_OI, self.a_RI, self.b_OR)
        device = x.device.type
        is_cast = torch.is_autocast_enabled(device)
        # Autocast leaves float64 as it is.
        are_alike = all(t.dtype.itemsize <= 4 for t in operands) if is_cast else all(t.dtype == x.dtype for t in operands)
        if args or kwargs or not are_alike:
            return self.own(x, *args, **kwargs)
        if not is_cast:
            return self._apply(self.bias_O, *operands)
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return self._apply(None if self.bias_O is None else self.bias_O.to(dtype), *(t.to(dtype) for t in operands))

    def _apply(self, bias_O: Tensor | None, x: Tensor, weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor) -> Tensor:
        dropped = None if type(self.dropout) is Identity else self.dropout(x)
        return lora_linear(x, weight_OI, bias_O, a_RI, b_OR, self.scaling, dropped)


def _is_vanilla(layer: LoraLayer) -> bool:
    """Whether the layer computes a frozen linear layer and one adapter without bias, variant, patch or hook."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1 or not _runs(layer, LoraLayer):
        return False
    [name] = layer.active_adapters
    if name not in layer.lora_A or name in layer.lora_variant:
        return False
    base, a, b, dropout = layer.base_layer, layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    dropout_class = Identity if type(dropout) is Identity else Dropout
    parts = ((base, Linear), (a, Linear), (b, Linear), (dropout, dropout_class))
    are_plain = all(type(part) is cls and _runs(part, cls) and not is_hooked(part) for part, cls in parts)
    if not are_plain or a.bias is not None or b.bias is not None:
        return False
    return not (base.weight.requires_grad or (base.bias is not None and base.bias.requires_grad))


def _runs(module: torch.nn.Module, cls: Any) -> bool:
    """Whether a call of ``module`` runs the forward pass of ``cls``, and not one that was put in its place."""
    return bool(module.forward == MethodType(cls.forward, module))
