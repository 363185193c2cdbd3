"""Our kernels on a CUDA device, against its ceilings, torch, torch.compile, and the kernels that a user would install instead.

liger-kernel and cut-cross-entropy are compared with where they can be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.bench import Case, Count, Size
from benchmarks.gpu import Ceilings, gpu_case, measure_ceilings, peak_gpu_bytes
from twinkle.kernels.linear_logprob import linear_logprob

NUM_TOKENS = 8192
NUM_ENTRIES = 151_936
"""Of the vocabulary of Qwen3."""
HIDDEN_SIZES: dict[Size, tuple[int, ...]] = {"quick": (2048,), "full": (1024, 2048, 4096)}


def cases(size: Size) -> Iterator[Case]:
    """One after the other; the tensors of a case are gone when the next is set up."""
    if not torch.cuda.is_available():
        raise RuntimeError("these kernels are timed on a CUDA device: here is none, or torch was built without CUDA")
    ceilings = measure_ceilings()
    for hidden_size in HIDDEN_SIZES[size]:
        yield linear_cross_entropy(hidden_size, ceilings)
        yield token_logprobs(hidden_size, ceilings)


def linear_cross_entropy(hidden_size: int, ceilings: Ceilings) -> Case:
    """Loss and gradient of the hidden states, through a projection that is not trained: two products."""
    hidden, weight, labels = _head(hidden_size)
    hidden.requires_grad_()

    def step(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            hidden.grad = None
            loss().backward()  # type: ignore[no-untyped-call]

        return run

    def eager_loss() -> Tensor:
        return functional.cross_entropy((hidden @ weight.T).float(), labels)

    ours = step(lambda: -linear_logprob(hidden, weight, labels).logps_N.mean())
    eager = step(eager_loss)
    peers = {"eager": eager, "torch.compile": step(torch.compile(eager_loss))}
    if find_spec("liger_kernel"):
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss  # type: ignore[import-not-found]

        liger_loss = LigerFusedLinearCrossEntropyLoss()
        peers["liger"] = step(lambda: liger_loss(weight, hidden, labels))
    if find_spec("cut_cross_entropy"):
        from cut_cross_entropy import linear_cross_entropy as cut_loss  # type: ignore[import-not-found]

        peers["cut-cross-entropy"] = step(lambda: cut_loss(hidden, weight, labels))

    def check() -> None:
        ours()
        assert hidden.grad is not None
        some = slice(0, 256)
        # bfloat16 logits and products: a part in a hundred of the gradient's length
        _assert_near(hidden.grad[some], _reference(hidden[some].detach(), weight, labels[some])[1] / NUM_TOKENS, 1e-2)

    def counts() -> list[Count]:
        eager_bytes, our_bytes = peak_gpu_bytes(eager), peak_gpu_bytes(ours)
        return [
            Count(name="peak memory", value=our_bytes / 2**20, unit="MiB"),
            Count(name="eager's peak memory over ours", value=eager_bytes / our_bytes, at_least=8),
        ]

    return gpu_case(
        f"linear cross entropy, hidden {hidden_size}",
        ours,
        peers,
        check=check,
        floor_s=ceilings.floor_s(flops=4 * NUM_TOKENS * hidden_size * NUM_ENTRIES),
        at_most_floors=1.20,
        at_least={"torch.compile": 1.0, "liger": 1.5, "cut-cross-entropy": 1.3},
        counts=counts,
    )


def token_logprobs(hidden_size: int, ceilings: Ceilings) -> Case:
    """Log-probability and entropy of each token without a gradient: one product."""
    hidden, weight, labels = _head(hidden_size)

    def ours() -> tuple[Tensor, Tensor | None]:
        seen = linear_logprob(hidden, weight, labels, with_entropy=True)
        return seen.logps_N, seen.entropies_N

    @torch.no_grad()
    def eager() -> tuple[Tensor, Tensor]:
        logps = torch.log_softmax((hidden @ weight.T).float(), -1)
        return logps.gather(1, labels[:, None])[:, 0], -(logps.exp() * logps).sum(-1)

    def check() -> None:
        logps, entropies = ours()
        assert entropies is not None
        exact = _reference(hidden[:256], weight, labels[:256])[0]
        _assert_near(logps[:256], exact, 1e-2)
        _assert_near(entropies[:256], eager()[1][:256], 1e-2)

    def counts() -> list[Count]:
        return [Count(name="peak memory", value=peak_gpu_bytes(ours) / 1e6, unit="MB", at_most=64)]

    return gpu_case(
        f"log-probability and entropy, hidden {hidden_size}",
        ours,
        {"eager": eager},
        check=check,
        floor_s=ceilings.floor_s(flops=2 * NUM_TOKENS * hidden_size * NUM_ENTRIES),
        at_most_floors=1.15,
        at_least={"eager": 1.5},
        counts=counts,
    )


def _head(hidden_size: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)
    hidden = torch.randn(NUM_TOKENS, hidden_size, generator=generator, device="cuda").bfloat16()
    weight = (torch.randn(NUM_ENTRIES, hidden_size, generator=generator, device="cuda") / hidden_size**0.5).bfloat16()
    return hidden, weight, torch.randint(0, NUM_ENTRIES, (NUM_TOKENS,), generator=generator, device="cuda")


def _reference(hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities, and the gradient of minus their sum by ``hidden``, in float32."""
    hidden, weight = hidden.float().requires_grad_(), weight.float()
    logps = torch.log_softmax(hidden @ weight.T, -1).gather(1, labels[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(-logps.sum(), hidden)
    return logps.detach(), gradient


def _assert_near(seen: Tensor, exact: Tensor, tolerance: float) -> None:
    error = float((seen.float() - exact).norm() / exact.norm())
    assert error <= tolerance, f"off by {error:.1e} of its length, {tolerance:.0e} is allowed"
