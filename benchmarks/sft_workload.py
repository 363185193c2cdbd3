"""What every trainer of :mod:`benchmarks.sft_lora` is given: one model, one fresh adapter and the same batches, as files.

    model/            random weights of a small Qwen3 in float32, and a tokenizer that nobody uses but some insist on loading
    adapter/          LoRA of rank 8 on all linear layers
    batches.json      [[{"input_ids": [...], "num_prompt": 12}, ...], ...]

Lengths are lognormal with a median of 15 % of a bound and sigma 1.2, cut at the bound, as chat data is. Padded to their longest row,
batches of 8 x 256 are 35 % full and batches of 16 x 512 29 %: a peer that pads pays the inverse, so the fill stands beside the ratios. The
first third of a row is its prompt, which has no labels. Tokens follow Zipf's law, so that there is something to learn and a wrong
optimizer step shows in the next loss. Beside them there are rows of one length, which nobody has to pad.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

LEARNING_RATE = 1e-3
MAX_GRAD_NORM = 0.1
"""A sixth of the norms that these gradients have: at everybody's default of 1 nothing would be clipped."""
RANK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """Of a Qwen3 with as many key-value heads as half its heads."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    head_dim: int
    num_heads: int = 4
    vocab_size: int = 4096

    @property
    def linear_sizes(self) -> list[tuple[int, int]]:
        """Outputs and inputs of the linear layers of a decoder layer: query, key, value, output, gate, up, down."""
        hidden, inner = self.hidden_size, self.intermediate_size
        queries, keys = self.num_heads * self.head_dim, self.num_heads // 2 * self.head_dim
        return [(queries, hidden), (keys, hidden), (keys, hidden), (hidden, queries), (inner, hidden), (inner, hidden), (hidden, inner)]

    @property
    def num_parameters(self) -> int:
        """Of the linear layers of all decoder layers."""
        return self.num_layers * sum(outputs * inputs for outputs, inputs in self.linear_sizes)


TINY = ModelShape(hidden_size=64, intermediate_size=192, num_layers=2, head_dim=16)
SMALL = ModelShape(hidden_size=256, intermediate_size=768, num_layers=4, head_dim=64)
"""3.15 million parameters in its layers."""


@dataclass(frozen=True, slots=True)
class Row:
    """An encoded sample."""

    input_ids: list[int]
    num_prompt: int

    @property
    def num_labels(self) -> int:
        """How many of its tokens are predicted."""
        return len(self.input_ids) - self.num_prompt

    @property
    def shifted_labels(self) -> list[int]:
        """``labels[i]`` is the token that position i predicts, -100 for the prompt and at the end."""
        return [-100] * (self.num_prompt - 1) + self.input_ids[self.num_prompt :] + [-100]


def ragged_lengths(rng: np.random.Generator, num_rows: int, max_length: int) -> list[int]:
    """Lognormal lengths, see the module's text."""
    drawn = max_length * 0.15 * np.exp(1.2 * rng.standard_normal(num_rows))
    return [int(length) for length in np.clip(np.round(drawn), 6, max_length)]


def padded_fill(batch: list[Row]) -> float:
    """What part of ``batch``, padded to its longest row, is tokens."""
    lengths = [len(row.input_ids) for row in batch]
    return sum(lengths) / (len(lengths) * max(lengths))


def make_batches(num_batches: int, batch_size: int, max_length: int, vocab_size: int = 4096) -> list[list[Row]]:
    """Ragged batches; no row is longer than ``max_length``."""
    rng = np.random.default_rng(0)
    return [[_row(rng, length, vocab_size) for length in ragged_lengths(rng, batch_size, max_length)] for _ in range(num_batches)]


def make_equal_batches(num_batches: int, batch_size: int, length: int) -> list[list[Row]]:
    """Batches of rows of one length."""
    rng = np.random.default_rng(0)
    return [[_row(rng, length, 4096) for _ in range(batch_size)] for _ in range(num_batches)]


def _row(rng: np.random.Generator, length: int, vocab_size: int) -> Row:
    """Tokens that follow Zipf's law."""
    weights = 1.0 / np.arange(2, vocab_size + 1)
    ids = rng.choice(np.arange(1, vocab_size), size=length, p=weights / weights.sum())
    return Row(ids.tolist(), max(1, length // 3))


def write_workload(folder: Path, shape: ModelShape, batches: list[list[Row]]) -> None:
    """Writes model, adapter, tokenizer and batches into ``folder``."""
    from peft import get_peft_model
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = random_model(shape)
    model.save_pretrained(folder / "model")
    words = {"<pad>": 0, **{f"t{index}": index for index in range(1, shape.vocab_size)}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="<pad>", unk_token="<pad>"
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(folder / "model")
    get_peft_model(model, lora_config()).save_pretrained(folder / "adapter")
    (folder / "batches.json").write_text(json.dumps([[asdict(row) for row in batch] for batch in batches]), encoding="utf-8")


def read_batches(folder: Path) -> list[list[Row]]:
    """The batches that :func:`write_workload` wrote."""
    batches = json.loads((folder / "batches.json").read_text(encoding="utf-8"))
    return [[Row(**row) for row in batch] for batch in batches]


def random_model(shape: ModelShape) -> Any:
    """A Qwen3 with the same random weights every time."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_heads // 2,
        head_dim=shape.head_dim,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config)


def lora_config() -> Any:
    """Rank 8 on all linear layers but the output projection, no dropout."""
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
