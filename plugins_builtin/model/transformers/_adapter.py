"""LoRA adapters through PEFT: adding, choosing, writing and reading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel

from twinkle.core.errors import CheckpointError, InvalidArgument
from twinkle.core.repository_files import repository_folder

WEIGHT_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def add_adapter(model: PreTrainedModel | PeftModel, name: str, config: PeftConfig | str | Path, is_trainable: bool) -> PeftModel:
    """``model`` with adapter ``name`` of a PEFT configuration (fresh weights), or of a folder or hub id (its weights).

    Raises:
        InvalidArgument: an empty or taken name, or a configuration of another type.
    """
    if not name:
        raise InvalidArgument("adapter_name: expected a name such as 'default', got ''")
    if isinstance(model, PeftModel) and name in model.peft_config:
        raise InvalidArgument(f"adapter_name: there is an adapter {name!r} already; the model has {sorted(model.peft_config)}")
    if isinstance(config, str | Path):
        folder = str(repository_folder(config, "model"))
        if isinstance(model, PeftModel):
            model.load_adapter(folder, name, is_trainable=is_trainable)
            return model
        return PeftModel.from_pretrained(model, folder, name, is_trainable=is_trainable)
    if not isinstance(config, PeftConfig):
        raise InvalidArgument(
            f"config_or_dir: expected a peft configuration such as LoraConfig(r=8), or a path, got {type(config).__name__}"
        )
    if isinstance(model, PeftModel):
        model.add_adapter(name, config)
        return model
    return get_peft_model(model, config, adapter_name=name)


def adapter_parameters(model: PeftModel, name: str) -> dict[str, torch.nn.Parameter]:
    """The parameters of adapter ``name``, by their full names."""
    return {n: p for n, p in model.named_parameters() if f".{name}." in n or n.endswith(f".{name}")}


def write_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Writes adapter ``name`` as PEFT reads it: keys without the adapter's name."""
    weights = get_peft_model_state_dict(model, adapter_name=name)
    save_file({key: value.detach().contiguous() for key, value in weights.items()}, folder / WEIGHT_FILE, metadata={"format": "pt"})
    config = model.peft_config[name]
    was_inference = config.inference_mode
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.inference_mode = was_inference


def read_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Reads the weights of ``folder`` into adapter ``name``.

    Raises:
        CheckpointError: the folder holds no adapter, or one of other shapes.
    """
    if not (folder / WEIGHT_FILE).is_file():
        raise CheckpointError(f"{folder} holds no adapter: expected {WEIGHT_FILE}, found {sorted(p.name for p in folder.iterdir())}")
    result: Any = set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"), adapter_name=name)
    expected = {key for key in result.missing_keys if f".{name}." in key}
    if expected or result.unexpected_keys:
        problems = sorted(expected)[:3] + sorted(result.unexpected_keys)[:3]
        raise CheckpointError(f"{folder}: its adapter does not fit adapter {name!r} of this model, for example {problems}")
