"""The projection to log-probabilities equals whole logits in float64, in value and gradient, whatever the chunk."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twinkle.kernels.linear_logprob import linear_logprob, linear_logprob_ref


def problem(n: int, h: int, v: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, h, generator=generator, dtype=torch.float64)
    weight = torch.randn(v, h, generator=generator, dtype=torch.float64) / h**0.5
    labels = torch.randint(0, v, (n,), generator=generator)
    bias = torch.randn(v, generator=generator, dtype=torch.float64)
    return hidden.to(dtype), weight.to(dtype), labels, bias.to(dtype)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(("n", "h", "v", "chunk"), [(1, 3, 5, None), (13, 7, 31, 4), (13, 7, 31, 13), (8, 5, 97, 1), (0, 4, 9, None)])
def test_values_and_gradients_equal_whole_logits(n: int, h: int, v: int, chunk: int | None, temperature: float, with_bias: bool) -> None:
    """Mutants: sign of either derivative, temperature left out of one, label row dropped, last chunk skipped, entropy without ``+ H``."""
    hidden, weight, labels, bias = problem(n, h, v, torch.float64)
    upstream, upstream_entropy = torch.randn(n, dtype=torch.float64), torch.randn(n, dtype=torch.float64)
    seen = []
    for fast in (True, False):
        leaves = [t.clone().requires_grad_() for t in (hidden, weight, bias)]
        b = leaves[2] if with_bias else None
        if fast:
            out = linear_logprob(
                leaves[0], leaves[1], labels, b, temperature=temperature, with_entropy=True, with_argmax=True, chunk_size=chunk
            )
        else:
            out = linear_logprob_ref(leaves[0], leaves[1], labels, b, temperature=temperature)
        assert out.entropies_N is not None
        total = (out.logps_N * upstream).sum() + (out.entropies_N * upstream_entropy).sum()
        gradients = torch.autograd.grad(total, leaves[: 3 if with_bias else 2])
        seen.append((out.logps_N, out.entropies_N, out.argmax_N, *gradients))
    # Float64 against float64 in another order of summation over at most 97 terms.
    for ours, reference in zip(*seen, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_lower_precisions_stay_within_their_rounding(dtype: torch.dtype, tolerance: float) -> None:
    """Logits are of size 1 to 4 and rounded once by the product, so log-probabilities err by some units of the dtype's last place."""
    hidden, weight, labels, _ = problem(33, 48, 257, dtype)
    exact = linear_logprob_ref(hidden.double(), weight.double(), labels)
    seen = linear_logprob(hidden, weight, labels, chunk_size=10)
    torch.testing.assert_close(seen.logps_N.double(), exact.logps_N, rtol=tolerance, atol=4 * tolerance)
    assert seen.logps_N.dtype == torch.float32


def test_a_frozen_projection_keeps_no_logits_and_makes_no_second_pass() -> None:
    hidden, weight, labels, _ = problem(64, 16, 400, torch.float32)
    hidden.requires_grad_()
    out = linear_logprob(hidden, weight, labels, chunk_size=8)
    saved = [t for t in out.logps_N.grad_fn.saved_tensors if isinstance(t, Tensor)]  # type: ignore[union-attr]
    assert max(t.numel() for t in saved if t.data_ptr() != weight.data_ptr()) <= hidden.numel()
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        out = linear_logprob(hidden, weight, labels, chunk_size=8)
        out.logps_N.sum().backward()
    assert counter.get_total_flops() == 4 * 64 * 16 * 400  # 2 N H V for the logits, 2 N H V for the gradient, nothing in backward


def test_non_contiguous_inputs_and_autocast() -> None:
    hidden, weight, labels, _ = problem(12, 20, 50, torch.float32)
    strided = torch.stack([hidden, hidden], dim=-1)[..., 0]
    exact = linear_logprob_ref(hidden, weight, labels)
    torch.testing.assert_close(linear_logprob(strided, weight.T.contiguous().T, labels).logps_N, exact.logps_N)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = linear_logprob(hidden.requires_grad_(), weight, labels)
    low.logps_N.sum().backward()
    torch.testing.assert_close(low.logps_N, exact.logps_N, rtol=2e-2, atol=8e-2)
    assert hidden.grad is not None and hidden.grad.dtype == torch.float32
