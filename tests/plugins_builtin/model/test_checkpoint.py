"""What a checkpoint holds, and who can load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from tiny_training import assert_same_bits, batches, lora, make_tiny, make_trainee, sample, train, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from twinkle.core.errors import CheckpointError, InvalidArgument
from twinkle.model import TransformersModel

TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("wide"), hidden_size=48)


def names(checkpoint: str | Path) -> set[str]:
    return {p.name for p in Path(checkpoint).iterdir()}


def logits_of(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.tensor([sample(17, seed=5)["input_ids"]])
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def test_a_lora_checkpoint_loads_in_plain_transformers_and_peft(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    train(model, batches(3))
    path = model.save("trained", output_dir=tmp_path)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), path)
    torch.testing.assert_close(logits_of(plain), logits_of(model.model), rtol=0, atol=1e-5)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert (logits_of(base) - logits_of(plain)).abs().max() > 1e-2, "the adapter does something"


def test_a_full_checkpoint_loads_in_plain_transformers(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder, "full")
    train(model, batches(3))
    path = model.save("trained", output_dir=tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(path)
    assert plain.dtype is torch.float32
    torch.testing.assert_close(logits_of(plain), logits_of(model.model), rtol=0, atol=1e-5)
    assert AutoTokenizer.from_pretrained(path)("Who are you?") == AutoTokenizer.from_pretrained(folder)("Who are you?")


@pytest.mark.parametrize("with_template", [True, False])
def test_the_layout_of_a_lora_checkpoint(folder: Path, tmp_path: Path, with_template: bool) -> None:
    model = make_trainee(folder)
    if with_template:
        model.set_template("Template")
    train(model, batches(1))
    path = model.save(output_dir=tmp_path)
    assert path == str(tmp_path / "checkpoint-step-1")
    assert names(path) == {"adapter_config.json", "adapter_model.safetensors", "trainer_state.json"} | TOKENIZER
    keys = load_file(Path(path) / "adapter_model.safetensors").keys()
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in keys
    assert not [key for key in keys if "default" in key]
    assert AutoTokenizer.from_pretrained(path).chat_template == AutoTokenizer.from_pretrained(folder).chat_template


def test_the_layout_with_the_optimizer(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder, accumulation=2)
    train(model, batches(3), accumulation=2)
    path = Path(model.save("with", output_dir=tmp_path, save_optimizer=True, consumed_train_samples=6))
    state_files = {"optimizer.safetensors", "rng_state.safetensors", "gradients.safetensors"}
    assert state_files <= names(path)
    assert not [name for name in names(path) if name.endswith((".pt", ".bin", ".pkl"))]
    state = json.loads((path / "trainer_state.json").read_text())
    assert {k: state[k] for k in ("checkpoint_version", "adapter_name", "cur_step", "num_optimizer_steps")} == {
        "checkpoint_version": 1,
        "adapter_name": "default",
        "cur_step": 3,
        "num_optimizer_steps": 1,
    }
    assert (state["gradient_accumulation_steps"], state["consumed_train_samples"]) == (2, 6)
    assert state["provenance"]["optimizer"]["entry"] == "torch.optim:AdamW"


def test_the_layout_of_a_full_checkpoint(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder, "full")
    path = model.save("full", output_dir=tmp_path)
    assert names(path) == {"config.json", "generation_config.json", "model.safetensors", "trainer_state.json"} | TOKENIZER


def test_a_model_without_a_folder_saves_without_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    config = AutoModelForCausalLM.from_pretrained(folder).config
    config.name_or_path = ""
    model = TransformersModel(config=config, mixed_precision="no")
    path = model.save("full", output_dir=tmp_path)
    assert names(path) == {"config.json", "generation_config.json", "model.safetensors", "trainer_state.json"}
    assert_same_bits(dict(AutoModelForCausalLM.from_pretrained(path).named_parameters()), weights(model))


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_load_into_a_fresh_model_gives_the_same_weights(folder: Path, tmp_path: Path, kind: str) -> None:
    model = make_trainee(folder, kind)
    losses = train(model, batches(3))
    model.save("trained", output_dir=tmp_path)
    fresh = make_trainee(folder, kind)
    before = weights(fresh)
    fresh.load("trained", output_dir=tmp_path)
    assert_same_bits(weights(fresh), weights(model))
    assert any(not torch.equal(before[name], value) for name, value in weights(fresh).items())
    assert train(fresh, batches(3))[0] < losses[0]
    fresh.load(tmp_path / "trained")  # by its path alone
    assert_same_bits(weights(fresh), weights(model))


def test_an_adapter_is_added_from_the_folder_of_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    train(model, batches(2))
    path = model.save("trained", output_dir=tmp_path)
    fresh = TransformersModel(model_id=folder, mixed_precision="no")
    fresh.add_adapter_to_model("again", path)
    torch.testing.assert_close(logits_of(fresh.model), logits_of(model.model), rtol=0, atol=0)
    assert all(p.requires_grad for p in fresh.optimizer_group["again"].named_parameters.values())
    fresh.add_adapter_to_model("second", path)
    assert_same_bits({n.replace("second", "again"): v for n, v in weights(fresh, "second").items()}, weights(fresh, "again"))


def test_saving_changes_nothing(folder: Path, tmp_path: Path) -> None:
    """Two runs, one of which saves after each step, are the same to the bit: saving draws no random number and moves no state."""
    results = []
    for saves in (False, True):
        model = make_trainee(folder, dropout=0.3)
        torch.manual_seed(0)
        losses = []
        for number, batch in enumerate(batches(4)):
            losses += train(model, [batch])
            if saves:
                model.save(f"{number}", output_dir=tmp_path, save_optimizer=True)
        results.append((losses, weights(model)))
    assert results[0][0] == results[1][0]
    assert_same_bits(results[1][1], results[0][1])


def test_the_adapters_own_weights_are_saved_beside_lora(tmp_path: Path) -> None:
    """Modules that it trains as a whole are parameters of the adapter; the base model's embeddings under a LoRA are not."""
    folder = make_tiny(tmp_path / "untied", tie_word_embeddings=False)
    config = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], modules_to_save=["model.norm"])
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.add_adapter_to_model("default", config)
    model.set_optimizer("SGD", lr=0.5)
    trained = set(weights(model))
    assert {n for n in trained if "modules_to_save" in n} == {"base_model.model.model.norm.modules_to_save.default.weight"}
    train(model, batches(2))
    path = model.save("trained", output_dir=tmp_path)
    keys = load_file(Path(path) / "adapter_model.safetensors").keys()
    assert len(keys) == len(trained)
    fresh = TransformersModel(model_id=folder, mixed_precision="no")
    fresh.add_adapter_to_model("default", config)
    fresh.load(path)
    assert_same_bits(weights(fresh), weights(model))


def test_an_adapter_may_bear_the_name_of_a_part_of_the_model(folder: Path, tmp_path: Path) -> None:
    """Mutant seen to fail: parameters chosen by ``.mlp.`` anywhere in their name."""
    model = TransformersModel(model_id=folder, mixed_precision="no")
    model.add_adapter_to_model("mlp", lora())
    assert all("lora_" in name for name in weights(model))
    frozen = {name: p.detach().clone() for name, p in model.model.named_parameters() if "lora_" not in name}
    assert not any(p.requires_grad for name, p in model.model.named_parameters() if "lora_" not in name)
    model.set_optimizer("AdamW", lr=1e-2)
    train(model, batches(1))
    assert_same_bits({name: p.detach() for name, p in model.model.named_parameters() if name in frozen}, frozen)
    other = TransformersModel(model_id=folder, mixed_precision="no")
    other.add_adapter_to_model("mlp", lora())
    other.load(model.save("x", output_dir=tmp_path))
    assert_same_bits(weights(other), weights(model))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("", lora(), "expected a name without dots such as 'default', got ''"),
        ("a.b", lora(), "expected a name without dots"),
        ("default", {"r": 4}, r"expected a peft configuration such as LoraConfig\(r=8\), or a path, got dict"),
        ("default", lora(bias="all"), "bias='all' would train biases of the base model"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused(folder: Path, name: str, config: Any, message: str) -> None:
    model = TransformersModel(model_id=folder, mixed_precision="no")
    with pytest.raises(InvalidArgument, match=message):
        model.add_adapter_to_model(name, config)
    model.add_adapter_to_model("default", lora())
    with pytest.raises(InvalidArgument, match="there is an adapter 'default' already"):
        model.add_adapter_to_model("default", lora())


def test_weights_of_another_kind_or_shape_are_refused_and_change_nothing(folder: Path, wide_folder: Path, tmp_path: Path) -> None:
    saved = make_trainee(folder)
    train(saved, batches(1))
    adapter = Path(saved.save("adapter", output_dir=tmp_path))
    full = make_trainee(folder, "full").save("full", output_dir=tmp_path)
    wide = make_trainee(wide_folder)
    wide_full = make_trainee(wide_folder, "full")
    alpha = TransformersModel(model_id=folder, mixed_precision="no")
    alpha.add_adapter_to_model("default", LoraConfig(r=4, lora_alpha=16, target_modules="all-linear"))
    fewer = TransformersModel(model_id=folder, mixed_precision="no")
    fewer.add_adapter_to_model("default", LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"]))
    cases = [
        (wide, adapter, r"has shape \(4, 32\) instead of \(4, 48\)"),
        (wide, full, "holds no adapter: expected adapter_model.safetensors"),
        (wide_full, adapter, "holds no full model: expected config.json"),
        (wide_full, full, r"another shape than this one, for example .*\(768, 32\)"),
        (alpha, adapter, "trained with lora_alpha=8, but adapter 'default' of this model has 16"),
        (fewer, adapter, "has no place"),
    ]
    for model, path, message in cases:
        before = weights(model)
        with pytest.raises(CheckpointError, match=message):
            model.load(path)
        assert_same_bits(weights(model), before)
    stored = load_file(adapter / "adapter_model.safetensors")
    missing = sorted(stored)[0]
    save_file({k: v for k, v in stored.items() if k != missing}, adapter / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=f"{missing} is missing"):
        saved.load(adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match="a weight file is damaged"):
        saved.load(adapter)


def test_a_full_checkpoint_that_lacks_a_weight_is_refused(folder: Path, tmp_path: Path) -> None:
    """transformers itself would give the missing weight random numbers."""
    model = make_trainee(folder, "full")
    path = Path(model.save("full", output_dir=tmp_path))
    stored = load_file(path / "model.safetensors")
    del stored["model.layers.1.mlp.up_proj.weight"]
    save_file(stored, path / "model.safetensors", metadata={"format": "pt"})
    before = weights(model)
    with pytest.raises(CheckpointError, match=r"lack \['model.layers.1.mlp.up_proj.weight'\]"):
        model.load(path)
    assert_same_bits(weights(model), before)


def test_a_name_that_is_no_checkpoint(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nothing': expected the folder .*nothing, or a hub id"):
        model.load("nothing", output_dir=tmp_path)


def test_the_interval_counts_backward_calls(folder: Path, tmp_path: Path) -> None:
    model = make_trainee(folder)
    paths = []
    for batch in batches(5):
        train(model, [batch])
        paths.append(model.save(output_dir=tmp_path, interval=2))
    assert paths == [None, str(tmp_path / "checkpoint-step-2"), None, str(tmp_path / "checkpoint-step-4"), None]
    assert names(tmp_path) == {"checkpoint-step-2", "checkpoint-step-4"}
    with pytest.raises(InvalidArgument, match="interval: expected a whole number of 1 or more, got 0"):
        model.save(output_dir=tmp_path, interval=0)


def test_the_default_folder_is_output(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = make_trainee(folder)
    assert model.save("mine") == "output/mine"
    assert (tmp_path / "output" / "mine" / "adapter_config.json").is_file()
    model.load("mine")
