"""Every component that is registered keeps what the conformance kit asks of a stranger's. A plugin adds a row, or nothing."""

from __future__ import annotations

import functools
import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_model, make_tokenizer

from twinkle.core.refs import parse_repo
from twinkle.core.registry import Registry
from twinkle.core.settings import Settings
from twinkle.testing import (
    Check,
    Example,
    HubExample,
    KernelExample,
    LossExample,
    ModelExample,
    PatchExample,
    RowExample,
    Specimen,
    TemplateExample,
    parametrize_with_checks,
)
from twinkle.testing.sequence_batch import SequenceColumns

WORK = Path(tempfile.mkdtemp(prefix="twinkle-contract-"))
"""Made when the tests are collected: examples are, too. It goes when this file's tests are over."""


@pytest.fixture(scope="module", autouse=True)
def work_folder_goes() -> Iterator[None]:
    yield
    shutil.rmtree(WORK, ignore_errors=True)


@functools.cache
def tokenizer_folder() -> Path:
    return make_tokenizer(WORK / "tokenizer")


@functools.cache
def model_folder() -> Path:
    return make_model(WORK / "model")


def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder())


def regression(generator: Any, length: int) -> SequenceColumns:
    """What a head with one value a position gives."""
    import torch

    labels = torch.randn(length, generator=generator, dtype=torch.float64)
    labels[torch.rand(length, generator=generator) < 0.3] = -100
    labels[-2:] = torch.tensor([0.5, -100.0], dtype=torch.float64)
    return SequenceColumns(
        inputs={"labels": labels, "position_ids": torch.arange(length)},
        outputs={"logits": torch.randn(length, generator=generator, dtype=torch.float64)},
    )


def tiny_layers() -> Any:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))
    model[1]._no_split_modules = ["Linear"]
    return model


def moe_blocks() -> Any:
    """A model with two layers of the name that the patch looks for."""
    import torch

    block = type("Qwen3MoeSparseMoeBlock", (torch.nn.Linear,), {})
    return torch.nn.Sequential(block(2, 2), torch.nn.Sequential(block(2, 2)))


MIRRORED: Mapping[str, bytes] = {"config.json": b"{}", "weights/a.safetensors": b"\x00\x01", "README.md": "你好".encode()}


def mirror() -> Mapping[str, Any]:
    repo = parse_repo("ms://owner/name")
    for path, data in MIRRORED.items():
        file = WORK / "mirror" / repo.scheme / repo.owner / repo.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return {"root": WORK / "mirror"}


QUESTIONS = (
    {"question": "What is 1000 + 234?", "answer": "1000 + 234 = 1234\n#### 1,234"},
    {"question": "一共有多少个苹果？", "answer": "三个加四个等于七个\n#### 7"},
    {"question": "How much?", "answer": "First #### 3 then\n#### -3.5"},
)
NAMES = (
    {"query": "Who are you?", "response": "I am {{NAME}}, made by {{AUTHOR}}."},
    {"query": "你是谁？", "response": "我是{{NAME}}。"},
    {"query": "", "response": "Nobody."},
)
PROBLEMS = (
    {"problem": "What is 1 + 1?", "solution": "It is \\boxed{2}."},
    {"problem": "", "solution": ""},
    {"problem": "三加四等于多少？", "solution": "\\boxed{7}"},
)
PAIRS = (
    {"prompt": "Hi!", "chosen": "Hello!", "rejected": "No."},
    {"prompt": [{"role": "user", "content": "你好"}], "chosen": [{"role": "assistant", "content": "你好！"}], "rejected": ""},
    {"prompt": "", "chosen": "A", "rejected": "B"},
)
INSTRUCTIONS = (
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "翻译", "input": "", "output": "Translate"},
    {"instruction": "Say nothing.", "input": None, "output": ""},
)
NUMBERS = ({"nums": [1, 2, 3], "target": 6}, {"nums": [4], "target": 4}, {"nums": [7, 7], "target": 1})
TEXTS = ({"text": "a b"}, {"text": "你好 c"}, {"text": ""}, {"text": "a much longer text than the others"})
DATASETS = ("dataset", "iterable", "iterable_packing", "lazy", "packing")
FAMILIES = ("Llama", "Qwen2", "Qwen3", "Qwen3Moe")
LENGTHS = (7, 19, 12, 33)


def tensors(*shapes: tuple[int, ...]) -> Callable[[], list[Any]]:
    """Random tensors of ``shapes``."""

    def make() -> list[Any]:
        import torch

        generator = torch.Generator().manual_seed(len(shapes))
        return [torch.randn(shape, generator=generator) for shape in shapes]

    return make


def projection(num_tokens: int, hidden_size: int, vocab_size: int) -> Callable[[], list[Any]]:
    """Hidden states, weight and labels."""

    def make() -> list[Any]:
        import torch

        labels = torch.arange(num_tokens) * 7 % vocab_size
        return [*tensors((num_tokens, hidden_size), (vocab_size, hidden_size))(), labels]

    return make


def rotated(num_tokens: int, num_heads: int, head_dim: int, rotated_dim: int, with_norm: bool = False) -> Callable[[], list[Any]]:
    """Queries, half as many keys, the weights of their norms, cosines and sines."""

    def make() -> list[Any]:
        import torch

        angles = torch.linspace(-3, 3, 2 * num_tokens * rotated_dim // 2).reshape(2, num_tokens, -1).repeat(1, 1, 2)
        heads = tensors((2, num_heads, num_tokens, head_dim), (2, max(1, num_heads // 2), num_tokens, head_dim))()
        weights = tensors((head_dim,), (head_dim,))() if with_norm else []
        return [*heads, *weights, angles.cos(), angles.sin()]

    return make


def routed(num_tokens: int, hidden_size: int, expert_size: int, num_experts: int, top_k: int) -> Callable[[], list[Any]]:
    """Tokens, the two weights of the experts, and which of them a token goes to with which weight."""

    def make() -> list[Any]:
        import torch

        shapes = ((num_tokens, hidden_size), (num_experts, 2 * expert_size, hidden_size), (num_experts, hidden_size, expert_size))
        index = (torch.arange(num_tokens)[:, None] * 2 + torch.arange(top_k)) % num_experts
        return [*tensors(*shapes)(), index, torch.rand((num_tokens, top_k), generator=torch.Generator().manual_seed(9))]

    return make


def layers(part: str, *families: str) -> list[Callable[[], tuple[Any, list[Any]]]]:
    """Layers ``<family><part>`` of transformers, each with its inputs."""
    return [functools.partial(layer, part, family) for family in families]


def layer(part: str, family: str) -> tuple[Any, list[Any]]:
    import torch

    folder = family.lower().replace("moe", "_moe")
    module = vars(importlib.import_module(f"transformers.models.{folder}.modeling_{folder}"))
    sizes = {"hidden_size": 12, "intermediate_size": 10, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6}
    experts = {"num_experts": 3, "moe_intermediate_size": 5} if family.endswith("Moe") else {}
    config = module[f"{family}Config"](**sizes, **experts, attn_implementation="eager")
    (hidden,) = tensors((2, 3, 12))()
    angles = torch.linspace(-3, 3, 18).reshape(2, 3, 3).repeat(1, 1, 2)
    arguments, more = {
        "RMSNorm": ([12], []),
        "MLP": ([config], []),
        "Attention": ([config, 0], [(angles.cos(), angles.sin()), None]),
        "Experts": ([config], [torch.tensor([[0, 2], [2, 1]]), torch.tensor([[0.7, 0.3], [0.4, 0.6]])]),
    }[part]
    return module[family + part](*arguments), [hidden[:, 0] if part == "Experts" else hidden, *more]


def samples() -> list[dict[str, Any]]:
    return [{"input_ids": list(range(n)), "labels": [*range(1, n), -100]} for n in LENGTHS]


def prepare(model: Any) -> None:
    model.set_optimizer("AdamW", lr=1e-3)


EXAMPLES: dict[str, Example] = {
    **{f"dataset:{name}": Example(init={"dataset_meta": {"data": list(TEXTS)}}) for name in DATASETS},
    "filter:length": RowExample(rows=TEXTS, init={"column": "text", "max_length": 5}),
    "filter:not_empty": RowExample(rows=TEXTS, init={"columns": ["text"]}),
    "hub:mirror": HubExample(init=mirror, repo="ms://owner/name", files=MIRRORED),
    "kernel:linear_logprob": KernelExample(tensors=[projection(5, 7, 13), projection(1, 3, 129)]),
    "kernel:moe_experts": KernelExample(tensors=[routed(7, 5, 3, 4, 2), routed(1, 8, 3, 1, 1)], layers=layers("Experts", "Qwen3Moe")),
    "kernel:qk_norm_rope": KernelExample(
        tensors=[rotated(5, 4, 6, 6, True), rotated(1, 2, 8, 4, True)], layers=layers("Attention", "Qwen3", "Qwen3Moe")
    ),
    "kernel:rms_norm": KernelExample(tensors=[tensors((3, 5, 7), (7,)), tensors((1, 33), (33,))], layers=layers("RMSNorm", *FAMILIES)),
    "kernel:rope": KernelExample(tensors=[rotated(5, 4, 6, 6), rotated(1, 2, 8, 4)], layers=layers("Attention", "Llama", "Qwen2")),
    "kernel:swiglu": KernelExample(tensors=[tensors((3, 5, 7), (3, 5, 7)), tensors((1, 33), (1, 33))], layers=layers("MLP", *FAMILIES)),
    "loss:mse": LossExample(sequence=regression),
    "lr_scheduler:cosine_annealing": Example(init={"T_max": 4}),
    "lr_scheduler:cosine_annealing_warm_restarts": Example(init={"T_0": 2}),
    "lr_scheduler:cosine_warmup": Example(init={"num_warmup_steps": 2, "num_training_steps": 8}),
    "lr_scheduler:cyclic": Example(init={"base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False}),
    "lr_scheduler:exponential": Example(init={"gamma": 0.9}),
    "lr_scheduler:lambda": Example(init={"lr_lambda": functools.partial(pow, 0.9)}),
    "lr_scheduler:linear_warmup": Example(init={"num_warmup_steps": 2, "num_training_steps": 8}),
    "lr_scheduler:multi_step": Example(init={"milestones": [2, 4]}),
    "lr_scheduler:one_cycle": Example(init={"max_lr": 0.1, "total_steps": 20, "cycle_momentum": False}),
    "lr_scheduler:step": Example(init={"step_size": 2}),
    "model:transformers": ModelExample(
        init=lambda: {"model_id": str(model_folder()), "mixed_precision": "no"}, inputs=samples, prepare=prepare
    ),
    "patch:no_split_modules": PatchExample(init={"module_names": ["ReLU"]}, target=tiny_layers),
    "patch:qwen3_moe_fsdp2": PatchExample(target=moe_blocks, versions={"transformers": "4.57.6"}),
    "preprocessor:alpaca": RowExample(rows=INSTRUCTIONS),
    "preprocessor:competition_math": RowExample(rows=PROBLEMS),
    "preprocessor:competition_math_grpo": RowExample(rows=PROBLEMS),
    "preprocessor:countdown": RowExample(rows=NUMBERS),
    "preprocessor:emoji_dpo": RowExample(rows=PAIRS, init={"chosen_key": "chosen", "rejected_key": "rejected"}),
    "preprocessor:preference": RowExample(rows=PAIRS),
    "preprocessor:gsm8k": RowExample(rows=QUESTIONS, init={"add_assistant": True}),
    "preprocessor:self_cognition": RowExample(rows=NAMES, init={"model_name": "Twinkle", "model_author": "us"}),
    "template:template": TemplateExample(init=lambda: {"model_id": str(tokenizer_folder())}, tokenizer=tokenizer),
}
"""How components are built and fed that need something for it."""


DEPENDENCIES = {
    "dataset": ("datasets", "transformers"),
    "dataloader": ("datasets", "transformers"),
    "model": ("transformers", "peft", "datasets"),
    "template": ("transformers", "accelerate"),
}
"""What the extra ``train`` installs for a kind, torch aside."""

NEEDS_A_SERVICE = {"hub:huggingface", "hub:modelscope"}
"""They are run against the loopback hub, in tests/hub_loader."""
SLOW = {"model"}


def registered() -> list[Specimen]:
    """Every announced component of this installation that is built in."""
    registry = Registry(Settings(plugins=frozenset()))
    found = [c for kind in registry.kinds for c in registry.components(kind)]
    return [Specimen(kind=c.kind, name=c.name, component=c.name, dependencies=DEPENDENCIES.get(c.kind, ())) for c in found]


ALL = [s for s in registered() if s.id not in NEEDS_A_SERVICE]
FAST = [s for s in ALL if s.kind not in SLOW]
TIMED = [s for s in ALL if s.kind in SLOW]


def examples_of(specimens: list[Specimen]) -> dict[str, Example]:
    ids = {s.id for s in specimens}
    return {name: example for name, example in EXAMPLES.items() if name in ids}


@parametrize_with_checks(FAST, examples=examples_of(FAST))
def test_builtin(component: Specimen, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks(TIMED, examples=examples_of(TIMED))
def test_builtin_model(component: Specimen, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks(ALL, examples=examples_of(ALL), tiers=("dist",))
def test_builtin_on_two_ranks(component: Specimen, check: Check) -> None:
    check(component)


def test_every_example_belongs_to_a_component() -> None:
    assert EXAMPLES.keys() <= {s.id for s in ALL}
