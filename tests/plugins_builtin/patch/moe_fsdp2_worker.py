"""One rank of two: a tiny Qwen3-MoE under FSDP2 makes one step, and rank 0 compares loss and weights with a step in one process.

usage: moe_fsdp2_worker.py RANK PORT CASE [PATCH ...]     CASE: equal | unequal    PATCH: a patch's name or id; each makes a run of its own
Prints one JSON line: the largest differences to the reference, and those between the first run and the others.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from twinkle.core.patching import apply_patch

NUM_EXPERTS, TOP_K, LENGTH, LR = 8, 2, 4, 0.1


def make_model() -> Any:
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            moe_intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            num_experts=NUM_EXPERTS,
            num_experts_per_tok=TOP_K,
            decoder_sparse_step=1,
            norm_topk_prob=True,
        )
    )


def experts_of(model: Any, ids: torch.Tensor) -> set[int]:
    """The experts that some token of ``ids`` chooses."""
    with torch.no_grad():
        logits = model(input_ids=ids, output_router_logits=True).router_logits[0]
    return set(logits.topk(TOP_K, dim=-1).indices.flatten().tolist())


def inputs_of(case: str, model: Any) -> torch.Tensor:
    """Two rows, one a rank, whose tokens choose an equal or unequal number of experts, and not the same ones."""
    generator = torch.Generator().manual_seed(1)
    while True:
        ids = torch.randint(0, 64, (2, LENGTH), generator=generator)
        first, second = (experts_of(model, row[None]) for row in ids)
        if (len(first) == len(second)) == (case == "equal") and first != second and len(first) < NUM_EXPERTS:
            return ids


def step(model: Any, ids: torch.Tensor) -> float:
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=LR).step()
    return float(loss.detach())


def sharded_step(model: Any, ids: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    """The mean loss of all ranks, whose own row is ``ids``, and the whole weights after one step."""
    for layer in model.model.layers:
        for expert in layer.mlp.experts if isinstance(layer.mlp.experts, torch.nn.ModuleList) else []:
            fully_shard(expert)
        fully_shard(layer)
    fully_shard(model)
    loss = torch.tensor(step(model, ids))
    dist.all_reduce(loss)
    return float(loss) / dist.get_world_size(), {name: p.full_tensor().detach() for name, p in model.named_parameters()}


def difference(got: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> float:
    return max(float((got[name] - p.detach()).abs().max()) for name, p in expected.items())


def main(rank: int, port: str, case: str, *patches: str) -> None:
    reference = make_model()
    ids = inputs_of(case, reference)
    reference_loss = step(reference, ids)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=20))
    runs = []
    for patch in patches or (None,):
        model = make_model()
        with nullcontext() if patch is None else apply_patch(patch, model):
            runs.append(sharded_step(model, ids[rank : rank + 1]))
        assert not any("forward" in vars(layer.mlp) for layer in model.model.layers), "the revert left something"
    if rank == 0:
        seen = {
            "loss": max(abs(loss - reference_loss) for loss, _ in runs),
            "weights": max(difference(weights, dict(reference.named_parameters())) for _, weights in runs),
            "apart": max(difference(weights, runs[0][1]) for _, weights in runs),
        }
        print(json.dumps(seen), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
