"""What a layer of experts costs, in numbers that do not flicker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from twinkle.kernels.moe_experts import moe_experts

TOKENS, HIDDEN, WIDTH, EXPERTS, CHOSEN = 96, 16, 8, 12, 3
ROWS = TOKENS * CHOSEN
PRODUCT = 2 * ROWS * 3 * HIDDEN * WIDTH
"""Operations of every row through its expert once: gate, up and down."""


def layer(experts: int = EXPERTS, width: int = WIDTH) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    index = randn(TOKENS, experts).topk(min(CHOSEN, experts)).indices
    weight = torch.rand(index.shape, generator=generator).requires_grad_()
    gate_up, down = randn(experts, 2 * width, HIDDEN), randn(experts, HIDDEN, width)
    return randn(TOKENS, HIDDEN).requires_grad_(), gate_up.requires_grad_(), down.requires_grad_(), index, weight


def freeze_experts(tensors: tuple[Tensor, ...]) -> None:
    for weight in tensors[1:3]:
        weight.requires_grad_(False)


def flops_of_rows(rows_shape: torch.Size, weight_shape: torch.Size, *_: Any, **__: Any) -> int:
    """A grouped product has as many operations as a product with one of the group's matrices: the counter does not know that."""
    return 2 * rows_shape[0] * weight_shape[-2] * weight_shape[-1]


def count_flops(tensors: tuple[Tensor, ...]) -> int:
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten._grouped_mm: flops_of_rows}) as counter:
        moe_experts(*tensors).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("width", [8, 7], ids=["grouped calls", "a loop"])
def test_training_makes_three_products_of_a_forward_pass_and_frozen_experts_two(width: int) -> None:
    tensors = layer(width=width)
    forward = PRODUCT * width // WIDTH
    assert count_flops(tensors) == 3 * forward  # 6 T K 3 H I
    freeze_experts(tensors)
    assert count_flops(tensors) == 2 * forward  # 4 T K 3 H I


class Results(TorchDispatchMode):
    """Every tensor that an operation makes in memory of its own, with the operation's name."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, Tensor]] = []
        self.num_calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.num_calls += 1
        known = {t.untyped_storage().data_ptr() for _, t in self.made}
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in known:
                self.made.append((str(func), tensor))
        return result


def record(tensors: tuple[Tensor, ...]) -> Results:
    with Results() as results:
        moe_experts(*tensors).sum().backward()
    return results


def test_each_weight_gradient_is_one_buffer_and_a_frozen_weight_has_none() -> None:
    tensors = layer()
    inputs = {t.untyped_storage().data_ptr() for t in tensors}
    large = [t for _, t in record(tensors).made if t.numel() >= tensors[2].numel() and t.untyped_storage().data_ptr() not in inputs]
    stacked = [t for t in large if t.shape[0] == EXPERTS]
    assert [t.data_ptr() for t in stacked] == [tensors[i].grad.data_ptr() for i in (2, 1)]  # type: ignore[union-attr]
    for t in tensors:
        t.grad = None
    freeze_experts(tensors)
    large = [t for _, t in record(tensors).made if t.shape[:1] == (EXPERTS,) and t.dim() == 3]
    assert {t.untyped_storage().data_ptr() for t in large} <= inputs


def test_no_table_of_experts_by_rows_is_made() -> None:
    """The eager layer makes an int64 one-hot of E x K x T; here no tensor of integers is longer than the rows."""
    integers = [t for _, t in record(layer()).made if not t.is_floating_point()]
    assert max(t.numel() for t in integers) == ROWS


def test_a_frozen_layer_keeps_the_gate_and_not_the_gathered_tokens() -> None:
    tensors = layer()
    freeze_experts(tensors)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        moe_experts(*tensors)
    ours = [t for t in kept if t.is_floating_point() and all(t.data_ptr() != i.data_ptr() for i in tensors)]
    assert [tuple(t.shape) for t in ours] == [(ROWS, 2 * WIDTH)]


@pytest.mark.parametrize("freeze", [lambda _: None, freeze_experts], ids=["trained", "frozen"])
def test_the_number_of_calls_grows_by_few_an_expert(freeze: Callable[[tuple[Tensor, ...]], None]) -> None:
    calls = []
    for experts in (4, 8, 12):
        tensors = layer(experts)
        freeze(tensors)
        calls.append(record(tensors).num_calls)
    assert calls[2] - calls[1] == calls[1] - calls[0] <= 4 * (2 + 2)  # two weights, each a product and a transposed view
