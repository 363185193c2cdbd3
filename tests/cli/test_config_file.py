"""Configuration files: three formats, one meaning; every mistake is named with its file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinkle.cli.config_file import Use, read_config
from twinkle.cli.sft_config import DatasetConfig, LoraTable, SFTConfig
from twinkle.core.errors import InvalidConfig

TOML = """
model = "ms://Qwen/Qwen3-4B"
max_steps = 3
max_grad_norm = 1
output_dir = "output/x"
loss = "CrossEntropyLoss"
optimizer = { use = "AdamW", lr = 1e-3 }
metrics = ["accuracy", { use = "acme/bleu", order = 2 }]

[[dataset]]
id = "rows.jsonl"
preprocessor = { use = "SelfCognitionProcessor", model_name = "N", model_author = "A" }

[[dataset]]
id = "ms://owner/more"
num_rows = 10

[lora]
target_modules = ["q_proj", "v_proj"]
"""
JSON = """{"model": "ms://Qwen/Qwen3-4B", "max_steps": 3, "max_grad_norm": 1, "output_dir": "output/x", "loss": {"use": "CrossEntropyLoss"},
"optimizer": {"use": "AdamW", "lr": 0.001}, "metrics": ["accuracy", {"use": "acme/bleu", "order": 2}],
"dataset": [{"id": "rows.jsonl", "preprocessor": {"use": "SelfCognitionProcessor", "model_name": "N", "model_author": "A"}},
{"id": "ms://owner/more", "num_rows": 10}], "lora": {"target_modules": ["q_proj", "v_proj"]}}"""
YAML = """
model: ms://Qwen/Qwen3-4B
max_steps: 3
max_grad_norm: 1
output_dir: output/x
loss: CrossEntropyLoss
optimizer: {use: AdamW, lr: 0.001}
metrics: [accuracy, {use: acme/bleu, order: 2}]
dataset:
  - id: rows.jsonl
    preprocessor: {use: SelfCognitionProcessor, model_name: N, model_author: A}
  - id: ms://owner/more
    num_rows: 10
lora:
  target_modules: [q_proj, v_proj]
"""
EXPECTED = SFTConfig(
    model="ms://Qwen/Qwen3-4B",
    max_steps=3,
    max_grad_norm=1.0,
    output_dir=Path("output/x"),
    loss=Use(use="CrossEntropyLoss"),
    optimizer=Use(use="AdamW", arguments={"lr": 1e-3}),
    metrics=(Use(use="accuracy"), Use(use="acme/bleu", arguments={"order": 2})),
    dataset=(
        DatasetConfig(id="rows.jsonl", preprocessor=Use(use="SelfCognitionProcessor", arguments={"model_name": "N", "model_author": "A"})),
        DatasetConfig(id="ms://owner/more", num_rows=10),
    ),
    lora=LoraTable(target_modules=("q_proj", "v_proj")),
)


@pytest.mark.parametrize(("suffix", "text"), [(".toml", TOML), (".json", JSON), (".yaml", YAML), (".yml", YAML)])
def test_the_three_formats_mean_the_same(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"run{suffix}"
    path.write_text(text, encoding="utf-8")
    assert read_config(SFTConfig, path) == EXPECTED


def test_one_dataset_is_a_table_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('model = "m"\n[dataset]\nid = "rows.jsonl"\n', encoding="utf-8")
    assert read_config(SFTConfig, path).dataset == (DatasetConfig(id="rows.jsonl"),)


MINIMAL = 'model = "m"\ndataset = { id = "rows.jsonl" }\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "optimiser = 'AdamW'", "unknown key 'optimiser'. Did you mean 'optimizer'?"),
        ('model = "m"\ndataset = { id = "rows.jsonl", splt = "test" }', "dataset: unknown key 'splt'. Did you mean 'split'?"),
        (MINIMAL + "[lora]\nrank = 4", "lora: unknown key 'rank'."),
        ('model = "m"', "the key 'dataset' is missing"),
        ('model = "m"\ndataset = {}', "dataset: the key 'id' is missing"),
        (MINIMAL + 'batch_size = "8"', "batch_size: expected a whole number, got '8'"),
        (MINIMAL + "batch_size = true", "batch_size: expected a whole number, got True"),
        (MINIMAL + "batch_size = 8.0", "batch_size: expected a whole number, got 8.0"),
        (MINIMAL + "max_steps = 2.5", "max_steps: expected a whole number, got 2.5"),
        (MINIMAL + "batch_size = 0", "batch_size: expected 1 or more, got 0"),
        (MINIMAL + "shuffle = 1", "shuffle: expected true or false, got 1"),
        (MINIMAL + "optimizer = { lr = 1e-3 }", 'optimizer: expected the name of a component, or a table { use = "name", ... }'),
        (MINIMAL + "metrics = [3]", "metrics: expected the name of a component"),
        (MINIMAL + "lora = 8", "lora: expected a table of keys, got 8"),
        ('model = "m"\ndataset = []', "dataset: expected at least one"),
        ("model = ", "cannot be read as TOML: "),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfig) as caught:
        read_config(SFTConfig, path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "text"), [("run.json", "{"), ("run.yaml", "a: [1"), ("run.ini", "x"), ("run.toml", None)])
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfig, match=name):
        read_config(SFTConfig, path)
