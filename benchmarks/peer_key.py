"""What the names of peers mean, and what is to be known about a benchmark before its ratios are quoted: both stand on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PEERS: Mapping[str, Mapping[str, str]] = {
    "sft_lora": {
        "hand loop, padded": "ours, with peft and torch and no framework: rows padded to the longest, logits of all positions.",
        "hand loop, packed": "ours, with peft and torch for this very model: rows one after the other, attention row by row, logits of "
        "labelled positions alone. It is not claimed to be the best possible.",
        "TRL": "SFTTrainer with its defaults: rows padded, activations recomputed, its own fused projection and loss.",
        "TRL, no recompute": "with `gradient_checkpointing=False`; rows are still padded.",
        "TRL padding-free": "with `gradient_checkpointing=False` and `padding_free=True`: rows one after the other. On a CPU transformers "
        "then attends through a mask of all tokens by all.",
        "twinkle-kit": "TransformersModel with its defaults: rows padded, activations recomputed.",
        "twinkle-kit padding-free": "with `set_processor('InputProcessor', padding_free=True)`, as its README says; it still recomputes.",
    },
    "padding_free": {
        "padded": "the same model by peft and transformers, rows padded to the longest.",
        "packed with a mask": "the same, rows one after the other: from their positions transformers makes a mask of all tokens by all.",
    },
    "linear_ce_logprob": {
        "naive": "whole logits by one product, then torch's cross-entropy.",
        "naive, labelled only": "the same on the labelled tokens, which are selected first.",
        "naive, compiled": "naive under `torch.compile`.",
        "TRL": "the head of its trainers, by chunks of the vocabulary. On a CPU it runs its road in torch, not its Triton kernels.",
        "twinkle-kit": "its default: whole logits, then selected log-probabilities row by row.",
        "twinkle-kit by chunks": "whole logits, then its cross-entropy by chunks of tokens.",
    },
    "import_and_registry": {
        "twinkle-kit": "the same line with the published package.",
        "trl": "`import trl`.",
        "torch": "`import torch`.",
        "transformers": "`import transformers`.",
        "torch, transformers and PEFT": "the import of these three and of the classes that a model needs.",
        "no more components": "Twinkle itself, with no further components in its registry.",
        "10 more components": "Twinkle itself beside 10 components instead of thousands.",
        "0.1 s": "of a new Python.",
        "2 us": "for each look-up.",
        "1 ms": "once for each kind.",
        "10 more components, plus 20 ms for each 10,000": "Twinkle itself beside 10 components, and 20 ms more for each 10,000.",
    },
    "hub_component": {
        "plain import": "Python's import of the same files, with nothing verified.",
        "a bare Python": "starting and ending Python without any code.",
        "10 ms each": "for each component that is verified and imported.",
        "0.5 s": "for the whole process, start and end included.",
    },
    "encode": {
        "encode_batch": "the bare tokenizer: it gets the texts rendered and makes ids, no labels.",
        "map": "`datasets.map` with transformers' chat template, a row at a time; ids only, no labels.",
        "map, batched": "the same with `batched=True`.",
        "twinkle-kit": "its Dataset and template, which encode 1 + 2 k prefixes of a row with k turns.",
    },
    "pack_and_load": {
        "binpacking": "the package of that name, which gets 1,000 lengths at a time, as published trainers call it.",
        "TRL bfd": "TRL's own packing by best fit, decreasing, on the same lengths.",
        "torch DataLoader": "over a data set of the package datasets as it comes: it makes a Python number of each token.",
        "torch DataLoader, rows as arrays": "over the same data set, asked for numpy arrays.",
        "datasets, batched reads": "slices of that data set, asked for numpy arrays: a read a batch, without a loader.",
        "twinkle-kit": "its DataLoader over the same rows.",
    },
    "moe_step": {
        "transformers grouped_mm": "the default of transformers in this version; twinkle-kit runs it too on one device.",
        "transformers eager": "its loop over experts, which is not its default.",
        "twinkle-kit expert loop": "the loop of its expert-parallel layer, run here on one rank. By itself twinkle-kit runs it with two "
        "ranks or more only.",
        "ours with 8 experts": "Twinkle itself with a sixteenth of the experts: the same products, a sixteenth of the weights.",
    },
    "kernels_hook": {
        "none": "the same step of Twinkle without patches and plugins.",
        "by hand": "the same methods replaced by assignment, without patches and plugins.",
    },
    "gpu_kernels": {
        "floor": "the shortest possible time, from the rates of products and copies that were measured on the device.",
        "eager": "torch or transformers, kernel by kernel.",
        "torch.compile": "the same under `torch.compile`.",
        "liger": "liger-kernel, where it is installed.",
        "cut-cross-entropy": "the package of that name, where it is installed.",
    },
}
"""By benchmark, then by the name that a case gives its peer. A name without a sentence stands on the page without one."""

NOTES: Mapping[str, Sequence[str]] = {
    "sft_lora": (
        "The models are small and random: in the quick tier 3.1 million parameters in 4 layers of hidden size 256, and a vocabulary of "
        "4096. What is won over a peer that pads depends on how ragged the rows are: *fill when padded* is the part of a padded batch that "
        "is tokens. Rows of equal length are measured beside; there nobody pads.",
    ),
    "padding_free": ("Padding alone makes the difference here: with rows of equal length there is none to leave out.",),
    "linear_ce_logprob": (
        "Ratios in float32 on a CPU do not carry over to a GPU.",
        "Quick cases of hidden size 256 have 256 tokens, so that the work is timed and not the reading of the projection: with 128 tokens "
        "the ratio to TRL was 2.8x instead of 4.0x. The larger the hidden size, the more of the time is in products that everybody makes, "
        "and the smaller the ratios: at 1024 that to naive was 1.2x to 1.3x in float32.",
    ),
    "import_and_registry": (
        "`import twinkle` loads no library that a component needs: who imports a component pays for that then. The lines that users write "
        "next are cases of their own.",
    ),
    "encode": (
        "Quick cases have 100 and 40 rows, so that the rows are timed and not the fixed cost of a call. With 25 rows of ten turns the "
        "ratio to map was 1.27x instead of 1.34x.",
    ),
}
"""Sentences on what a ratio rests on and where it does not hold, with figures of single runs where they say how much."""
