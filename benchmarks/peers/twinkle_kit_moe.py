"""twinkle-kit's expert-parallel layer on a group of one rank: all its experts are local, so what is timed is its loop over them.

It takes this layer with two ranks or more only (``apply_expert_parallel`` leaves a group of one as it is), and runs transformers' block on
one device: what is called here is what each of its ranks does with its own experts.

It gathers ``[E]`` into ``[1, E]``, which NCCL does and gloo refuses: here the gather of one rank is a copy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.peers.loop import serve
from twinkle.model.transformers.moe.expert_parallel import ExpertParallelConfig, patch_forward, shard_experts  # type: ignore[import-not-found]


def _gather_one(output: torch.Tensor, own: torch.Tensor, group: Any = None) -> None:
    output.copy_(own.view_as(output))


class _Layer:
    """The layer, once it is set up."""

    def __init__(self) -> None:
        self.block: Any = None
        self.hidden_1TH = torch.empty(0)
        self.upstream_1TH = torch.empty(0)

    def setup(self, path: str, results: str, rendezvous: str, frozen: bool) -> None:
        """Loads the layer from ``path``; writes the output and all gradients of a step to ``results``, by name."""
        if not dist.is_initialized():
            dist.all_gather_into_tensor = _gather_one  # type: ignore[assignment]
            dist.init_process_group("gloo", init_method=Path(rendezvous).as_uri(), rank=0, world_size=1)
        self.block, self.hidden_1TH, self.upstream_1TH = torch.load(path, weights_only=False)
        config = ExpertParallelConfig()
        shard_experts(self.block, 1, 0, config)  # makes parameters anew, which are then trained
        self.block.experts.requires_grad_(not frozen)
        patch_forward(self.block, dist.group.WORLD, 1, config, "experts")
        found = {"output": self.step()}
        inputs = {"hidden": self.hidden_1TH, **dict(self.block.named_parameters())}
        torch.save(found | {name: tensor.grad for name, tensor in inputs.items() if tensor.grad is not None}, results)

    def step(self) -> torch.Tensor:
        """Forward and backward; the output."""
        self.hidden_1TH.grad = None
        self.block.zero_grad()
        out_1TH: torch.Tensor = self.block(self.hidden_1TH)
        out_1TH.backward(self.upstream_1TH)  # type: ignore[no-untyped-call]
        return out_1TH.detach()


layer = _Layer()
serve({"setup": layer.setup, "step": layer.step})
