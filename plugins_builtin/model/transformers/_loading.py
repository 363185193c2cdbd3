"""Weights from a folder or a hub into a model on its device."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PretrainedConfig, PreTrainedModel

from twinkle.core.errors import InvalidArgument
from twinkle.core.repository_files import repository_folder

_DTYPE_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}


def load_model(
    model_cls: Any, model_id: str | Path | None, config: PretrainedConfig | None, device: torch.device, from_pretrained: dict[str, Any]
) -> PreTrainedModel:
    """The model of ``model_id``, or a new one of ``config`` with random weights, in float32 unless a ``dtype`` is asked for.

    Args:
        model_cls: a class with ``from_pretrained``, the name of one in transformers, or None for ``AutoModelForCausalLM``.
        from_pretrained: more keyword arguments of ``from_pretrained``.

    Raises:
        InvalidArgument: neither ``model_id`` nor ``config``, or ``trust_remote_code``.
    """
    options = dict(from_pretrained)
    if options.pop("trust_remote_code", False):
        raise InvalidArgument(
            "trust_remote_code: code of a repository runs only after its exact bytes were approved; no switch allows all of it"
        )
    dtype = torch_dtype(options.pop("dtype", options.pop("torch_dtype", None)))
    model_class = _model_class(model_cls)
    if model_id is not None:
        folder = repository_folder(model_id, "model")
        given = {} if config is None else {"config": config}
        model = model_class.from_pretrained(folder, dtype=dtype, **given, **options)
    elif config is not None:
        if hasattr(model_class, "from_config"):  # the Auto classes make a model from a config by this name, the others by calling them
            model = model_class.from_config(config, dtype=dtype, **options)
        else:
            model = model_class(config).to(dtype)
    else:
        raise InvalidArgument("a model needs model_id='owner/name' (or a folder), or config= for random weights")
    return cast(PreTrainedModel, model.to(device))


def torch_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """``dtype`` as torch knows it; None is float32.

    Raises:
        InvalidArgument: no such dtype.
    """
    if dtype is None:
        return torch.float32
    if isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, _DTYPE_NAMES.get(dtype, dtype.removeprefix("torch.")), None)
    if not isinstance(found, torch.dtype):
        raise InvalidArgument(f"dtype: expected a torch dtype or its name ('float32', 'bfloat16', 'bf16' ...), got {dtype!r}")
    return found


def _model_class(model_cls: Any) -> Any:
    if model_cls is not None and not isinstance(model_cls, str):
        return model_cls
    name = model_cls or "AutoModelForCausalLM"
    try:
        return getattr(importlib.import_module("transformers"), name)
    except AttributeError:
        raise InvalidArgument(f"model_cls: transformers has no class {name!r}") from None
