"""LoRA adapters through PEFT: adding, choosing, writing and reading them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from twinkle.core.errors import CheckpointError, InvalidArgument
from twinkle.core.repository_files import repository_folder

WEIGHT_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"

_FUNCTION_FIELDS = ("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out")
"""Fields of an adapter's configuration that change what the same weights compute."""


def add_adapter(model: PreTrainedModel | PeftModel, name: str, config: PeftConfig | str | Path, is_trainable: bool) -> PeftModel:
    """``model`` with adapter ``name`` of a PEFT configuration (fresh weights), or of a folder or hub id (its weights).

    Raises:
        InvalidArgument: an empty or taken name, or one with a dot, or a configuration that is none or trains more than the adapter.
    """
    if not name or "." in name:
        raise InvalidArgument(f"adapter_name: expected a name without dots such as 'default', got {name!r}")
    if isinstance(model, PeftModel) and name in model.peft_config:
        raise InvalidArgument(f"adapter_name: there is an adapter {name!r} already; the model has {sorted(model.peft_config)}")
    folder = None
    if isinstance(config, str | Path):
        folder = str(repository_folder(config, "model"))
        config = PeftConfig.from_pretrained(folder)
    if not isinstance(config, PeftConfig):
        raise InvalidArgument(
            f"config_or_dir: expected a peft configuration such as LoraConfig(r=8), or a path, got {type(config).__name__}"
        )
    if isinstance(config, LoraConfig) and config.bias != "none":
        raise InvalidArgument(
            f"config_or_dir: bias={config.bias!r} would train biases of the base model, which all adapters share: use bias='none'"
        )
    if folder is not None and isinstance(model, PeftModel):
        model.load_adapter(folder, name, is_trainable=is_trainable)
        return model
    if folder is not None:
        return PeftModel.from_pretrained(model, folder, name, is_trainable=is_trainable)
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
        return model
    return get_peft_model(model, config, adapter_name=name)


def adapter_parameters(model: PeftModel, name: str) -> dict[str, torch.nn.Parameter]:
    """The parameters of adapter ``name``, by their full names."""
    # A part of the model may bear the adapter's name ("mlp"): it counts only after the name of an adapter's own layer.
    own = re.compile(rf"\.({model.base_model.prefix}\w*|modules_to_save|trainable_tokens_delta)\.{re.escape(name)}(\.|$)")
    return {n: p for n, p in model.named_parameters() if own.search(n)}


def write_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Writes adapter ``name`` as PEFT reads it: keys without the adapter's name."""
    weights = {key: value.detach().contiguous() for key, value in _adapter_weights(model, name).items()}
    save_file(weights, folder / WEIGHT_FILE, metadata={"format": "pt"})
    config = model.peft_config[name]
    was_inference = config.inference_mode
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.inference_mode = was_inference


def read_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Reads the weights of ``folder`` into adapter ``name``.

    Raises:
        CheckpointError: the folder holds no adapter, or one of another configuration or shape; the adapter is as it was.
    """
    for file in (WEIGHT_FILE, CONFIG_FILE):
        if not (folder / file).is_file():
            raise CheckpointError(f"{folder} holds no adapter: expected {file}, found {sorted(p.name for p in folder.iterdir())}")
    stored_config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    here_config = json.loads(json.dumps(model.peft_config[name].to_dict(), default=str))
    for field in _FUNCTION_FIELDS:
        if stored_config.get(field) != here_config.get(field):
            raise CheckpointError(
                f"{folder}: its adapter was trained with {field}={stored_config.get(field)!r}, "
                f"but adapter {name!r} of this model has {here_config.get(field)!r}"
            )
    stored = load_file(folder / WEIGHT_FILE)
    here = _adapter_weights(model, name)
    problems = [f"{key} is missing" for key in sorted(here.keys() - stored.keys())]
    problems += [f"{key} has no place" for key in sorted(stored.keys() - here.keys())]
    problems += [
        f"{key} has shape {tuple(stored[key].shape)} instead of {tuple(here[key].shape)}"
        for key in sorted(here.keys() & stored.keys())
        if stored[key].shape != here[key].shape
    ]
    if problems:
        raise CheckpointError(
            f"{folder}: its adapter does not fit adapter {name!r} of this model: {'; '.join(problems[:3])} ({len(problems)} in all)"
        )
    result: Any = set_peft_model_state_dict(model, stored, adapter_name=name)
    assert not result.unexpected_keys, result.unexpected_keys


def _adapter_weights(model: PeftModel, name: str) -> dict[str, Tensor]:
    # Never with the base model's embeddings: PEFT would look on a hub whether their size has changed.
    weights: dict[str, Tensor] = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return weights
