"""How long does it take from hidden states to log-probabilities of labels over a vocabulary of 151,936, and back to the gradient of hidden?

The projection is frozen, as under LoRA, so the floor is two products of 2 N H V operations for N labelled tokens, one without a gradient.
Naive is what a model with whole logits does: ``h W^T``, then torch's cross-entropy. Where tokens are masked, "naive, labelled only" does
that with the labelled ones, which are selected first. Memory is that of tensors that live at the peak.

Goals are of 512 tokens and more. At 256, for a quick look, whole logits cost less beside reading the projection, and ratios are smaller.
The larger the hidden size, the more of the time is in products that everybody makes: at 1,024 less is won than at 256.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, Work, timed
from benchmarks.counting import count_flops
from benchmarks.head_workload import IGNORED, VOCABULARY, Call, HeadWorkload, policy_loss, sizes
from benchmarks.memory import peak_live_bytes
from benchmarks.sidecar import SideCar, peer_folder
from twinkle.kernels.linear_logprob import linear_logprob

NAIVE, LABELLED_ONLY, COMPILED = "naive", "naive, labelled only", "naive, compiled"
FLOAT32_LOSS = [Goal(peer=NAIVE, at_least=1.4), Goal(peer="twinkle-kit", at_least=2.2), Goal(peer="TRL", at_least=3.0)]
BFLOAT16_LOSS = [Goal(peer=NAIVE, at_least=1.0)]
MASKED_LOSS = [Goal(peer=NAIVE, at_least=4.0)]

LEAST_MEMORY_RATIO = {"float32": {512: 20.0, 1024: 40.0}, "bfloat16": {512: 15.0, 1024: 15.0}}
"""Peak of naive over that of ours, by number of tokens."""


_PEERS: Mapping[str, tuple[str, str, Mapping[str, bool]]] = {
    "twinkle-kit": ("twinkle_kit_head", "twinkle-kit", {"chunked": False}),
    "twinkle-kit by chunks": ("twinkle_kit_head", "twinkle-kit", {"chunked": True}),
    "TRL": ("trl_head", "trl", {}),
}
"""The script of each, its folder of packages, and which of its ways is meant."""


def cases(size: Size) -> Iterator[Case]:
    """A loss and its gradient, masked tokens, a policy's loss, log-probabilities, entropies; then memory over the number of tokens."""
    if size == "quick":
        small = HeadWorkload(kind="loss", num_tokens=256, hidden_size=256, dtype="float32")
        yield from _against(small, ["twinkle-kit", "TRL"], goals=FLOAT32_LOSS)
        yield from _against(replace(small, masked_share=0.7), goals=MASKED_LOSS)
        yield from _against(replace(small, num_tokens=128, hidden_size=1024))
        yield from _against(replace(small, dtype="bfloat16"), goals=BFLOAT16_LOSS)
        yield _memory("float32", (128, 512, 1024))
        yield _memory("bfloat16", (128, 512, 1024))
        return
    for dtype, goals in (("float32", FLOAT32_LOSS), ("bfloat16", BFLOAT16_LOSS)):
        workload = HeadWorkload(kind="loss", num_tokens=512, hidden_size=256, dtype=dtype)
        yield from _against(workload, [*_PEERS, COMPILED], goals=goals)
        yield from _against(replace(workload, num_tokens=1024), goals=goals[:1])
        yield from _against(replace(workload, hidden_size=1024), ["twinkle-kit", "TRL"], goals=goals)
        yield from _against(replace(workload, masked_share=0.7), ["twinkle-kit", "TRL"], goals=MASKED_LOSS)
        for kind in ("policy", "logprob", "entropy"):
            yield from _against(replace(workload, kind=kind), ["twinkle-kit", "TRL"])
        yield _memory(dtype, (128, 256, 512, 1024, 4096))


def _ours(workload: HeadWorkload) -> Call:
    def call(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> list[Tensor]:
        index_N = (labels_T != IGNORED).nonzero()[:, 0]
        if len(index_N) < len(labels_T):
            hidden_TH, labels_T = hidden_TH.index_select(0, index_N), labels_T.index_select(0, index_N)
        with_entropy = workload.kind == "entropy"
        seen = linear_logprob(hidden_TH, weight_VH, labels_T, temperature=workload.temperature, with_entropy=with_entropy)
        if workload.kind == "loss":
            return [-seen.logps_N.mean()]
        if workload.kind == "policy":
            return [policy_loss(seen.logps_N)]
        return [seen.logps_N] if seen.entropies_N is None else [seen.logps_N, seen.entropies_N]

    return call


def _naive(workload: HeadWorkload) -> Call:
    def call(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> list[Tensor]:
        logits_TV = hidden_TH @ weight_VH.T
        if workload.kind == "loss":
            return [functional.cross_entropy(logits_TV, labels_T, ignore_index=IGNORED)]
        if workload.kind == "policy":
            return [policy_loss(-functional.cross_entropy(logits_TV / workload.temperature, labels_T, reduction="none"))]
        logps_TV = torch.log_softmax(logits_TV, dim=-1)
        logps_T = logps_TV.gather(-1, labels_T[:, None])[:, 0]
        return [logps_T] if workload.kind == "logprob" else [logps_T, -(logps_TV.exp() * logps_TV).sum(-1)]

    return call


def _labelled_only(workload: HeadWorkload) -> Call:
    """Naive without the tokens that count for nothing."""
    naive = _naive(workload)

    def call(hidden_TH: Tensor, weight_VH: Tensor, labels_T: Tensor) -> list[Tensor]:
        index_N = (labels_T != IGNORED).nonzero()[:, 0]
        return naive(hidden_TH.index_select(0, index_N), weight_VH, labels_T.index_select(0, index_N))

    return call


def _against(workload: HeadWorkload, peers: Sequence[str] = (), *, goals: Sequence[Goal] = ()) -> Iterator[Case]:
    """Ours beside naive, and beside those of ``peers`` that are installed."""
    operands = workload.operands()
    calls = {OURS: _ours(workload), NAIVE: _naive(workload)}
    if workload.masked_share:
        calls[LABELLED_ONLY] = _labelled_only(workload)
    if COMPILED in peers and shutil.which("g++"):
        calls[COMPILED] = torch.compile(_naive(workload))
    variants: dict[str, Variant] = {name: timed(_step(workload, call, operands)) for name, call in calls.items()}
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        for name in peers:
            if name not in _PEERS:
                continue
            script, package, way = _PEERS[name]
            packages = peer_folder(package)
            if packages is not None:
                car = stack.enter_context(SideCar(script, packages))
                found[name] = car.setup(**asdict(workload), **way)
                variants[name] = car.step
        masked = f", {workload.masked_share:.0%} masked" if workload.masked_share else ""
        yield Case(
            name=f"{workload.dtype}, {workload.kind}, {workload.num_tokens} tokens x {workload.hidden_size}{masked}",
            variants=variants,
            check=lambda: _check(workload, operands, calls, found),
            goals=goals,
            counts=lambda: _counts(workload, operands),
            work=Work(
                gemm_flops={workload.dtype: float(workload.flops)}, moved_bytes=float(operands[1].nbytes), tokens=workload.num_labelled
            ),
        )


def _step(workload: HeadWorkload, call: Call, operands: tuple[Tensor, Tensor, Tensor]) -> Callable[[], object]:
    return lambda: workload.run(call, operands)


def _check(
    workload: HeadWorkload, operands: tuple[Tensor, Tensor, Tensor], calls: Mapping[str, Call], peers: Mapping[str, list[float]]
) -> None:
    """Ours, and naive on labelled tokens, equal whole logits in float32, whatever the operands' dtype; peers' results have their size."""
    hidden_TH, weight_VH, labels_T = operands
    wide = (hidden_TH.detach().float().requires_grad_(hidden_TH.requires_grad), weight_VH.float(), labels_T)
    exact = workload.run(_naive(workload), wide)
    # Relative to the norm: float32 sums of 151,936 terms in another order; bfloat16 keeps eight bits, and peers lose more of them.
    own, labelled, others = (1e-5, 1e-5, 1e-4) if workload.dtype == "float32" else (4e-3, 4e-2, 4e-2)
    for name, tolerance in ((OURS, own), (LABELLED_ONLY, labelled)):
        if name in calls:
            for seen, wanted in zip(workload.run(calls[name], operands), exact, strict=True):
                off = float((seen.double() - wanted.double()).norm() / wanted.double().norm())
                assert off < tolerance, f"{name} is off by {off:.1e}"
    for name, found in peers.items():
        for size, wanted_size in zip(found, sizes(exact), strict=True):
            assert abs(size / wanted_size - 1) < others, f"{name} finds {found}, whole logits {sizes(exact)}"


def _counts(workload: HeadWorkload, operands: tuple[Tensor, Tensor, Tensor]) -> list[Count]:
    step = _step(workload, _ours(workload), operands)
    return [
        Count(name="operations over the least", value=count_flops(step) / workload.flops, at_most=1.0),
        Count(name="peak", value=peak_live_bytes(step) / 1e6, unit="MB"),
    ]


def _memory(dtype: str, tokens: Sequence[int]) -> Case:
    """What a further token costs, which is rows of hidden size and never one of the vocabulary; and how much naive needs."""
    hidden_size = 256

    def peak_bytes(call: Callable[[HeadWorkload], Call], num_tokens: int) -> int:
        workload = HeadWorkload(kind="loss", num_tokens=num_tokens, hidden_size=hidden_size, dtype=dtype)
        return peak_live_bytes(_step(workload, call(workload), workload.operands()))

    def counts() -> list[Count]:
        peaks = {num_tokens: peak_bytes(_ours, num_tokens) for num_tokens in tokens}
        bytes_a_token = (peaks[tokens[-1]] - peaks[tokens[0]]) / (tokens[-1] - tokens[0])
        return [
            *(Count(name=f"peak at {num_tokens} tokens", value=peak / 1e6, unit="MB") for num_tokens, peak in peaks.items()),
            *(
                Count(name=f"naive's over ours at {num_tokens}", value=peak_bytes(_naive, num_tokens) / peaks[num_tokens], at_least=ratio)
                for num_tokens, ratio in LEAST_MEMORY_RATIO[dtype].items()
            ),
            Count(name="a further token", value=bytes_a_token, unit="bytes", at_most=4.0 * 4 * hidden_size),
            Count(name="a row of the vocabulary", value=float(VOCABULARY * getattr(torch, dtype).itemsize), unit="bytes"),
        ]

    return Case(name=f"{dtype}, memory over tokens x {hidden_size}", variants={}, check=lambda: None, counts=counts)
