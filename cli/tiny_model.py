"""A tiny Qwen3 with a tokenizer of its own, made on the spot: a model folder like any other, without a download."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"

VOCABULARY_SIZE = 1024
"""Enough for the merges of a few kilobytes of text in two languages, above the 256 bytes."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    f"{START_OF_TURN}{{{{ message.role }}}}\n{{{{ message.content }}}}{END_OF_TURN}\n"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{START_OF_TURN}assistant\n{{% endif %}}"
)
"""ChatML, as Qwen has it, without tools."""


def make_tiny_model(folder: Path, texts: Iterable[str], seed: int) -> Path:
    """Writes a Qwen3 of 0.85 million fresh parameters and a byte-level BPE tokenizer trained on ``texts`` to ``folder``; returns it."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _train_tokenizer(texts)
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        # Untied, because an untrained model with tied embeddings only repeats its input.
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TURN),
        pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    return folder


def _train_tokenizer(texts: Iterable[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_OF_TEXT, START_OF_TURN, END_OF_TURN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),  # every byte, so that any text can be encoded
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END_OF_TURN, pad_token=END_OF_TEXT, chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False
    )
