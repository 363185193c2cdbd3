"""The benchmarks that there are, and those that wait for a part of Twinkle that is still to come."""

from __future__ import annotations

BENCHES = {
    "sft_lora": "optimizer steps of LoRA fine-tuning, on ragged rows and on equal ones",
    "padding_free": "forward and backward of one batch: padded, packed with a mask, packed without",
    "linear_ce_logprob": "cross-entropy and log-probability of a linear head, large vocabulary",
    "import_and_registry": "what `import twinkle` and a look-up cost, also beside 10,000 other components",
    "hub_component": "what it costs to verify and import an approved hub component",
    "encode": "chat rows to token ids and labels",
    "pack_and_load": "packing lengths into sequences, reading rows in batches",
    "moe_step": "forward and backward of a mixture-of-experts block",
    "kernels_hook": "a step with patches and kernels announced, and without",
}
"""Modules of this package with ``cases(size)``, in the order in which ``all`` runs them."""

ON_GPU = {
    "gpu_kernels": "our kernels on a CUDA device, against its ceilings and the kernels of others",
}
"""Modules whose cases need a CUDA device; run by name, never by ``all``."""

SELF_TEST = "aa"
"""The module whose case has no peer: it tells whether this machine can be judged on at all."""

WAITING = {
    "multi_tenant": "the server",
    "lora_group_op": "the server",
    "grpo_step": "reinforcement learning",
    "server_overhead": "the server",
    "weight_sync": "reinforcement learning",
    "fsdp_counts": "training on several devices",
    "checkpoint_resume": "the server",
}
"""Benchmarks without a module yet, and what they wait for."""
