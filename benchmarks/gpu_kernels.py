"""Our kernels on a CUDA device, against its ceilings, torch, torch.compile, and the kernels that a user would install instead.

liger-kernel and cut-cross-entropy are compared with where they can be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm, apply_rotary_pos_emb

from benchmarks.bench import OURS, CannotRun, Case, Count, Size
from benchmarks.gpu import Ceilings, gpu_case, measure_ceilings, peak_gpu_bytes
from twinkle.kernels.linear_logprob import linear_logprob
from twinkle.kernels.qk_norm_rope import qk_norm_rope, qk_norm_rope_ref
from twinkle.kernels.rms_norm import add_rms_norm, add_rms_norm_ref, rms_norm, rms_norm_ref
from twinkle.kernels.swiglu import swiglu, swiglu_ref

NUM_TOKENS = 8192
NUM_ENTRIES = 151_936
"""Of the vocabulary of Qwen3."""
HIDDEN_SIZES: dict[Size, tuple[int, ...]] = {"quick": (2048,), "full": (1024, 2048, 4096)}


def cases(size: Size) -> Iterator[Case]:
    """One after the other; the tensors of a case are gone when the next is set up."""
    if not torch.cuda.is_available():
        raise CannotRun("these kernels are timed on a CUDA device, and here is none, or torch was built without CUDA.")
    ceilings = measure_ceilings()
    for hidden_size in HIDDEN_SIZES[size]:
        yield linear_cross_entropy(hidden_size, ceilings)
        yield token_logprobs(hidden_size, ceilings)
    yield from layer_cases(ceilings)


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


def layer_cases(ceilings: Ceilings) -> Iterator[Case]:
    """The kernels of a decoder layer, forward alone and backward alone, with frozen weights but where it says so.

    Floors are the bytes that must be read and written, at the rate of a copy.
    """
    yield from _layer_cases("RMSNorm, hidden 4096", *_rms_norms(), 2, 3, ceilings, {"liger": (1.0, 1.2), "eager": (8.0, 8.0)})
    yield from _layer_cases(
        "RMSNorm with its weight trained", *_rms_norms(trained=True), 2, 3, ceilings, {"liger": (1.0, 1.2), "eager": (8.0, 8.0)}
    )
    yield from _layer_cases("residual and RMSNorm, hidden 4096", *_add_rms_norms(), 4, 4, ceilings, {"eager": (1.0, 1.0)})
    yield from _layer_cases("SwiGLU, 12288", *_swiglus(), 3, 5, ceilings, {"liger": (1.0, 1.0), "eager": (1.0, 1.0)})
    yield from _layer_cases("QK-norm and RoPE, 32 and 8 heads of 128", *_qk_norm_ropes(), 2, 3, ceilings, {"eager": (8.0, 8.0)}, 0.80)


Layer = Callable[..., "Tensor | tuple[Tensor, ...]"]


def _layer_cases(
    name: str,
    layers: dict[str, Layer],
    reference: Layer,
    inputs: list[Tensor],
    num_passes: int,
    num_backward_passes: int,
    ceilings: Ceilings,
    goals: dict[str, tuple[float, float]],
    of_copy_rate: float = 0.85,
) -> Iterator[Case]:
    """Forward and backward of ``layers`` on ``inputs``; a pass reads or writes the first input's bytes (heads: queries' and keys')."""
    differentiable = [x for x in inputs if x.requires_grad]
    exact = _tuple(reference(*inputs))
    upstream = [torch.randn_like(y, dtype=inputs[0].dtype) for y in exact]
    exact_gradients = torch.autograd.grad(exact, differentiable, [g.float() for g in upstream])
    outputs = {variant: _tuple(layer(*inputs)) for variant, layer in layers.items()}
    pass_bytes = sum(y.nbytes for y in upstream) / (2 if num_passes == 4 else 1)  # the sum with the residual is a second result

    def no_grad(layer: Layer) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad():
                layer(*inputs)

        return run

    def backward(variant: str) -> Callable[[], object]:
        def run() -> None:
            torch.autograd.grad(outputs[variant], differentiable, upstream, retain_graph=True)

        return run

    def check() -> None:
        # bfloat16 results: a part in a hundred of their length
        for seen, expected in zip(_tuple(layers[OURS](*inputs)), exact, strict=True):
            _assert_near(seen, expected.detach(), 1e-2)
        gradients = torch.autograd.grad(outputs[OURS], differentiable, upstream, retain_graph=True)
        for seen, expected in zip(gradients, exact_gradients, strict=True):
            _assert_near(seen, expected.float(), 1e-2)

    for direction, passes, place in (("forward", num_passes, 0), ("backward", num_backward_passes, 1)):
        timed = [variant for variant in layers if place == 0 or outputs[variant][0].requires_grad]
        calls = {variant: no_grad(layers[variant]) if place == 0 else backward(variant) for variant in timed}
        yield gpu_case(
            f"{name}, {direction}",
            calls.pop(OURS),
            calls,
            check=check,
            floor_s=ceilings.floor_s(moved_bytes=passes * pass_bytes),
            at_most_floors=1 / of_copy_rate,
            at_least={peer: ratios[place] for peer, ratios in goals.items()},
        )


def _rms_norms(trained: bool = False) -> tuple[dict[str, Layer], Layer, list[Tensor]]:
    module = Qwen3RMSNorm(4096, eps=1e-6).to("cuda", torch.bfloat16)

    def eager(x: Tensor, _: Tensor) -> Tensor:
        y: Tensor = module(x)
        return y

    layers: dict[str, Layer] = {
        OURS: lambda x, w: rms_norm(x, w, 1e-6),
        "eager": eager,
        "torch.compile": torch.compile(eager),
    }
    if find_spec("liger_kernel"):
        from liger_kernel.ops.rms_norm import LigerRMSNormFunction  # type: ignore[import-not-found]

        layers["liger"] = lambda x, w: LigerRMSNormFunction.apply(x, w, 1e-6, 0.0, "llama", False)
    weight = module.weight.requires_grad_(trained)
    return layers, lambda x, w: rms_norm_ref(x, w, 1e-6), [_random(NUM_TOKENS, 4096), weight]


def _add_rms_norms() -> tuple[dict[str, Layer], Layer, list[Tensor]]:
    module = Qwen3RMSNorm(4096, eps=1e-6).to("cuda", torch.bfloat16).requires_grad_(False)

    def eager(x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        total = x + residual
        return module(total), total

    layers: dict[str, Layer] = {
        OURS: lambda x, r: add_rms_norm(x, r, module.weight, 1e-6),
        "eager": eager,
        "torch.compile": torch.compile(eager),
    }
    reference: Layer = lambda x, r: add_rms_norm_ref(x, r, module.weight, 1e-6)  # noqa: E731
    return layers, reference, [_random(NUM_TOKENS, 4096), _random(NUM_TOKENS, 4096)]


def _swiglus() -> tuple[dict[str, Layer], Layer, list[Tensor]]:
    def eager(gate: Tensor, up: Tensor) -> Tensor:
        return functional.silu(gate) * up

    layers: dict[str, Layer] = {OURS: swiglu, "eager": eager, "torch.compile": torch.compile(eager)}
    if find_spec("liger_kernel"):
        from liger_kernel.ops.swiglu import swiglu_forward  # type: ignore[import-not-found]

        # Forward alone: Liger's backward overwrites its inputs, so it cannot be repeated.
        layers["liger"] = lambda gate, up: swiglu_forward(gate, up)[-1]
    return layers, swiglu_ref, [_random(NUM_TOKENS, 12_288), _random(NUM_TOKENS, 12_288)]


def _qk_norm_ropes() -> tuple[dict[str, Layer], Layer, list[Tensor]]:
    norms = [Qwen3RMSNorm(128, eps=1e-6).to("cuda", torch.bfloat16).requires_grad_(False) for _ in range(2)]
    weights = norms[0].weight, norms[1].weight
    turns = torch.rand(1, NUM_TOKENS, 64, device="cuda").repeat(1, 1, 2)
    cos, sin = turns.cos().bfloat16(), turns.sin().bfloat16()

    def eager(q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        rotated: tuple[Tensor, ...] = apply_rotary_pos_emb(norms[0](q), norms[1](k), cos, sin)
        return rotated

    layers: dict[str, Layer] = {
        OURS: lambda q, k: qk_norm_rope(q, k, *weights, cos, sin, 1e-6),
        "eager": eager,
        "torch.compile": torch.compile(eager),
    }
    reference: Layer = lambda q, k: qk_norm_rope_ref(q, k, *weights, cos, sin, 1e-6)  # noqa: E731
    heads = [_random(1, NUM_TOKENS, heads, 128).detach().transpose(1, 2).requires_grad_() for heads in (32, 8)]
    return layers, reference, heads


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.bfloat16, device="cuda", requires_grad=True)


def _tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


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
    error = float((seen.detach().float() - exact).norm() / exact.norm())
    assert error <= tolerance, f"off by {error:.1e} of its length, {tolerance:.0e} is allowed"
