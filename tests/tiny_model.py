"""A model folder made on the spot: a byte-level BPE trained on the text below, a ChatML template, a two-layer Qwen3 of random weights.

``make_tokenizer`` takes milliseconds, ``make_model`` a fraction of a second after torch is imported; the same call gives the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKUP_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Single tokens that are no special tokens: a decoder that skips special tokens keeps them, as in Qwen's own tokenizer."""

CHATML_TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' + (messages[0].content + '\\n\\n' if messages[0].role == 'system' else '') + 'Tools:' }}
    {%- for tool in tools %}
        {{- '\\n' + (tool | tojson) }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (tools and loop.first and message.role == 'system') %}
        {{- '<|im_start|>' + message.role + '\\n' }}
        {%- if message.reasoning_content %}
            {{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- message.content }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) + '\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""Qwen's pre-tokenisation."""

_TEXT = (
    "Who are you? I am a small language model, trained to answer questions and to follow instructions.",
    "What is your name? My name is written in the data that I was trained on. Who made you? The people who wrote that data.",
    "You are a helpful assistant. The user asks a question, and the assistant answers it, one step after the other.",
    "Natalia sold clips to 48 of her friends in April, and then half as many clips in May. How many clips did she sell altogether?",
    "She sold 48 / 2 = 24 clips in May. Altogether she sold 48 + 24 = 72 clips in April and May. The answer is 72.",
    "A train leaves the station at 9 and arrives at 12. How long does the journey take? It takes 12 - 9 = 3 hours.",
    "The weather in Paris is sunny today, and the temperature is 21 degrees. Tomorrow there will be rain in the north.",
    '{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": {"type": "object"}}}',
    '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}',
    "Let me think about this. First the numbers are added, then the sum is divided by two. So the result must be seven.",
    "system user assistant tool think answer question number result because therefore however",
    "你好！我是一个小小的语言模型，可以回答问题，也可以按照指示做事。",
    "你是谁？我是一个助手。你叫什么名字？我的名字写在训练数据里。谁开发了你？写这些数据的人开发了我。",
    "今天天气很好，我们一起去公园散步吧。明天可能会下雨，请带上雨伞。",
    "一共有多少个苹果？三个加四个等于七个，所以答案是七。",
)


def make_tokenizer(folder: Path | str, chat_template: str | None = CHATML_TEMPLATE) -> Path:
    """A fast tokenizer of about 700 tokens in ``folder``, which is returned. ``chat_template=None`` leaves it without one."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(_TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in MARKUP_TOKENS])

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    return folder


def make_model(folder: Path | str, seed: int = 0, chat_template: str | None = CHATML_TEMPLATE, **config_overrides: Any) -> Path:
    """A float32 Qwen3 of random weights with its tokenizer in ``folder``, which is returned; ``config_overrides`` go to ``Qwen3Config``."""
    import torch
    from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    folder = make_tokenizer(folder, chat_template)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = Qwen3Config(
        **{
            "vocab_size": (len(tokenizer) + 63) // 64 * 64,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **config_overrides,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    return folder
