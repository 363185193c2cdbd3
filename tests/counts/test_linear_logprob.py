"""What the projection to log-probabilities costs: operations, bytes at the peak, and calls, none of which flickers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.counting import count_dispatched, count_flops
from benchmarks.memory import peak_live_bytes
from twinkle.kernels.linear_logprob import linear_logprob

H, V = 16, 20_000
TILE_ELEMENTS = 2**19


def operands(n: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden that wants a gradient, a frozen projection, and labels."""
    return torch.randn(n, H).to(dtype).requires_grad_(), torch.randn(V, H).to(dtype), torch.randint(0, V, (n,))


def loss_and_gradient(n: int, dtype: torch.dtype = torch.float32, *, with_entropy: bool = False) -> Callable[[], None]:
    """Cross-entropy of ``n`` tokens and its gradient by hidden."""
    hidden, weight, labels = operands(n, dtype)

    def call() -> None:
        out = linear_logprob(hidden, weight, labels, with_entropy=with_entropy)
        torch.autograd.grad(-out.logps_N.mean(), hidden)

    return call


def test_a_frozen_projection_takes_two_products() -> None:
    """4 N H V: one product for logits, one for the gradient, none in the backward pass. Recomputing would take 6."""
    n = 1030  # three parts of 344, 344 and 342 tokens
    assert count_flops(loss_and_gradient(n)) == 4 * n * H * V
    hidden, weight, labels = operands(n)
    out = linear_logprob(hidden, weight, labels)
    assert count_flops(lambda: torch.autograd.grad(out.logps_N.sum(), hidden)) == 0
    assert count_flops(loss_and_gradient(n, with_entropy=True)) == 6 * n * H * V  # the entropy's gradient is a product of its own


@pytest.mark.parametrize("with_entropy", [False, True])
def test_without_a_gradient_there_is_one_product(with_entropy: bool) -> None:
    """Where nothing wants a gradient, and where gradients are off."""
    hidden, weight, labels = operands(100)
    with torch.no_grad():
        assert count_flops(lambda: linear_logprob(hidden, weight, labels, with_entropy=with_entropy)) == 2 * 100 * H * V
    assert count_flops(lambda: linear_logprob(hidden.detach(), weight, labels, with_entropy=with_entropy)) == 2 * 100 * H * V


def test_a_trained_projection_takes_four_products() -> None:
    """8 N H V: logits twice, and a gradient each, with entropies or without."""
    hidden, weight, labels = operands(100)
    weight.requires_grad_()
    for with_entropy in (False, True):
        out = linear_logprob(hidden, weight, labels, with_entropy=with_entropy)
        total = out.logps_N.sum() if out.entropies_N is None else (out.logps_N + out.entropies_N).sum()
        assert count_flops(lambda total=total: torch.autograd.grad(total, (hidden, weight))) == 6 * 100 * H * V


@pytest.mark.parametrize(("dtype", "bytes_an_element"), [(torch.float32, 4), (torch.bfloat16, 6), (torch.float16, 6), (torch.float64, 8)])
def test_memory_is_one_tile_and_rows_of_hidden_size(dtype: torch.dtype, bytes_an_element: int) -> None:
    """A tile of logits (and its float32 copy, where they are narrower), at most four rows of hidden size and forty numbers a token."""
    for n in (64, 512, 2048):
        at_most = TILE_ELEMENTS * bytes_an_element + n * (4 * H * max(4, dtype.itemsize) + 40 * 8)
        assert peak_live_bytes(loss_and_gradient(n, dtype)) <= at_most


def test_memory_is_of_the_tokens_there_are() -> None:
    """Also where more are allowed at a time."""
    hidden, weight, labels = operands(3)
    with torch.no_grad():
        assert peak_live_bytes(lambda: linear_logprob(hidden, weight, labels, chunk_size=10**6)) <= 4 * 3 * V + 2**16


@pytest.mark.slow
def test_memory_beside_that_of_whole_logits() -> None:
    """1 / 60 or less at 1,024 tokens here; the benchmark has the figures for a vocabulary of 151,936."""
    hidden, weight, labels = operands(1024)

    def whole() -> None:
        torch.autograd.grad(functional.cross_entropy(hidden @ weight.T, labels), hidden)

    assert 60 * peak_live_bytes(loss_and_gradient(1024)) <= peak_live_bytes(whole)


def test_no_tensor_is_larger_than_a_tile() -> None:
    """But for the projection and its views."""
    hidden, weight, labels = operands(700)

    def call() -> None:
        out = linear_logprob(hidden, weight[:2000], labels.clamp(max=1999), with_entropy=True, with_argmax=True)
        torch.autograd.grad(out.logps_N.sum(), hidden)

    assert count_dispatched(call).largest_numel <= TILE_ELEMENTS


def test_calls_of_a_single_tile_are_few() -> None:
    """What a step of a tiny model pays: one tile, forward and backward."""
    hidden, weight, labels = operands(64)

    def call() -> None:
        torch.autograd.grad(linear_logprob(hidden, weight[:500], labels % 500).logps_N.sum(), hidden)

    assert count_dispatched(call).num_ops <= 70
