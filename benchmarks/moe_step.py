"""How long do forward and backward of Qwen3's mixture-of-experts block take, beside transformers' ways and twinkle-kit's loop?

"transformers grouped_mm" is what transformers takes by itself, "transformers eager" its loop over experts. "twinkle-kit expert loop" is
what twinkle-kit puts in their place where experts are spread over two ranks or more, here with all experts on one rank and so without
communication. On one device twinkle-kit runs transformers' block: there "transformers grouped_mm" is its time.

512 tokens, 8 of 128 experts each, hidden size 256 and width 192: 6 T K 3 H I = 3.6e9 operations with trained experts, two thirds of them
with frozen ones. The router is part of the block. Gradients are dropped before each step, as an optimizer does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3MoeConfig
from transformers.integrations.moe import ExpertsInterface
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from benchmarks.bench import OURS, Case, Count, Goal, Size, Variant, Work, timed
from benchmarks.memory import peak_extra_rss
from benchmarks.sidecar import SideCar, peer_folder
from twinkle.kernels.moe_experts import moe_experts

HIDDEN, WIDTH, CHOSEN = 256, 192, 8
IMPLEMENTATION = "twinkle_moe_experts"
KIT_LOOP = "twinkle-kit expert loop"
GOALS = {
    "trained": [
        Goal(peer="transformers eager", at_least=30),
        Goal(peer=KIT_LOOP, at_least=30),
        Goal(peer="transformers grouped_mm", at_least=1.0),
    ],
    "frozen": [Goal(peer="transformers eager", at_least=1.3), Goal(peer=KIT_LOOP, at_least=1.5)],
}


@dataclass(frozen=True)
class Layer:
    """A block with its input."""

    block: Any
    hidden_1TH: Tensor
    upstream_1TH: Tensor
    frozen: bool

    @classmethod
    def of(cls, num_tokens: int, num_experts: int, dtype: torch.dtype, *, frozen: bool) -> Layer:
        """Random weights and activations of the size that training has."""
        torch.manual_seed(0)
        config = Qwen3MoeConfig(
            hidden_size=HIDDEN,
            moe_intermediate_size=WIDTH,
            num_experts=num_experts,
            num_experts_per_tok=CHOSEN,
            norm_topk_prob=True,
            experts_implementation="eager",
        )
        block = Qwen3MoeSparseMoeBlock(config)
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        block = block.to(dtype)
        block.experts.requires_grad_(not frozen)
        hidden_1TH, upstream_1TH = torch.randn(2, 1, num_tokens, HIDDEN).to(dtype).unbind()
        return cls(block, hidden_1TH.clone().requires_grad_(), upstream_1TH.clone(), frozen)

    def step(self, implementation: str) -> Tensor:
        """Forward and backward; the output."""
        self.block.experts.config._experts_implementation = implementation
        self.hidden_1TH.grad = None
        self.block.zero_grad()
        out_1TH: Tensor = self.block(self.hidden_1TH)
        out_1TH.backward(self.upstream_1TH)  # type: ignore[no-untyped-call]
        return out_1TH.detach()

    def results(self, implementation: str) -> dict[str, Tensor]:
        """The output and all gradients of a step, by name."""
        out_1TH = self.step(implementation)
        inputs = {"hidden": self.hidden_1TH, **dict(self.block.named_parameters())}
        return {"output": out_1TH, **{name: t.grad.clone() for name, t in inputs.items() if t.grad is not None}}

    def work(self) -> Work:
        """The products of every token with its experts, two or three times."""
        num_tokens = self.hidden_1TH.shape[1]
        flops = (4.0 if self.frozen else 6.0) * num_tokens * CHOSEN * 3 * HIDDEN * WIDTH
        weights = sum(p.numel() * p.element_size() for p in self.block.experts.parameters())
        dtype = str(self.hidden_1TH.dtype).removeprefix("torch.")
        return Work(gemm_flops={dtype: flops}, moved_bytes=float(weights * (2 if self.frozen else 3)), tokens=num_tokens)


def cases(size: Size) -> Iterator[Case]:
    """Trained and frozen experts against every peer, then more or fewer experts for the same tokens."""
    ExpertsInterface.register(IMPLEMENTATION, _forward)
    dtypes = (torch.float32,) if size == "quick" else (torch.float32, torch.bfloat16)
    for dtype in dtypes:
        for frozen in (False, True):
            yield from _against_peers(Layer.of(512, 128, dtype, frozen=frozen))
    for num_tokens in (512,) if size == "quick" else (512, 2048):
        yield _against_fewer_experts(num_tokens)


def _forward(layer: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    return moe_experts(hidden_states, layer.gate_up_proj, layer.down_proj, top_k_index, top_k_weights)


def _against_peers(layer: Layer) -> Iterator[Case]:
    kind = "frozen" if layer.frozen else "trained"
    dtype = str(layer.hidden_1TH.dtype).removeprefix("torch.")
    variants: dict[str, Variant] = {
        OURS: timed(_step(layer, IMPLEMENTATION)),
        "transformers grouped_mm": timed(_step(layer, "grouped_mm")),
        "transformers eager": timed(_step(layer, "eager")),
    }
    with ExitStack() as stack:
        theirs: Path | None = None
        packages = peer_folder("twinkle-kit")
        if packages is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            layer.block.zero_grad()
            torch.save((layer.block, layer.hidden_1TH, layer.upstream_1TH), folder / "layer.pt")
            car = stack.enter_context(SideCar("twinkle_kit_moe", packages))
            theirs = folder / "results.pt"
            car.setup(path=str(folder / "layer.pt"), results=str(theirs), rendezvous=str(folder / "rendezvous"), frozen=layer.frozen)
            variants[KIT_LOOP] = car.step
        yield Case(
            name=f"{dtype}, 128 experts {kind}",
            variants=variants,
            check=lambda: _check(layer, theirs),
            goals=GOALS[kind],
            counts=lambda: _counts(layer),
            work=layer.work(),
        )


def _against_fewer_experts(num_tokens: int) -> Case:
    """As 128 experts hold 16 times the weights of 8, more bytes are read and written for the same products."""
    many, few = (Layer.of(num_tokens, num_experts, torch.float32, frozen=False) for num_experts in (128, 8))
    variants: Mapping[str, Variant] = {
        OURS: timed(_step(many, IMPLEMENTATION)),
        "ours with 8 experts": timed(_step(few, IMPLEMENTATION)),
    }
    return Case(
        name=f"float32, {num_tokens} tokens, 128 experts beside 8",
        variants=variants,
        check=lambda: _check(many, None),
        goals=[Goal(peer="ours with 8 experts", at_least=1 / 1.5)],
        work=many.work(),
    )


def _step(layer: Layer, implementation: str) -> Callable[[], object]:
    return lambda: layer.step(implementation)


def _check(layer: Layer, kit_results: Path | None) -> None:
    """Output of all tokens and gradients of all weights equal those of each peer, as ``kit_results`` has them of twinkle-kit."""
    ours = layer.results(IMPLEMENTATION)
    others = {name: layer.results(name) for name in ("grouped_mm", "eager")}
    if kit_results is not None:
        others[KIT_LOOP] = torch.load(kit_results)
    for name, theirs in others.items():
        compare(ours, theirs, name)


def compare(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], name: str) -> None:
    """The same tensors, with the same values.

    Each is a sum of up to some thousand products, made in another order: in float32 1.1e-6 of the largest was the most that was seen, where
    one token that misses one expert makes 0.07. bfloat16 keeps eight bits, of sums and of the sums within them: 1.1e-2 was seen.
    """
    assert theirs.keys() == ours.keys(), f"{name} has other gradients: {sorted(theirs.keys() ^ ours.keys())}"
    for tensor, wanted in theirs.items():
        tolerance = 2e-5 if wanted.dtype == torch.float32 else 3e-2
        off, largest = float((ours[tensor] - wanted).abs().max()), float(wanted.abs().max())
        assert off <= tolerance * largest, f"{tensor}, {name}: off by {off:.1e}, the largest is {largest:.1e}"


def _counts(layer: Layer) -> Sequence[Count]:
    weights = sum(p.numel() * p.element_size() for p in layer.block.experts.parameters())
    rows = layer.hidden_1TH.shape[1] * CHOSEN
    activations = 12 * rows * (HIDDEN + 2 * WIDTH) * layer.hidden_1TH.element_size()
    bound = (0 if layer.frozen else weights) + activations
    layer.block.zero_grad()
    peak = peak_extra_rss(_step(layer, IMPLEMENTATION))
    return [Count(name="peak memory above weights", value=peak / 2**20, unit="MiB", at_most=bound / 2**20)]
