"""Weights from a folder or a hub into a model on its device."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PretrainedConfig, PreTrainedModel

from twinkle.core.errors import InvalidArgument
from twinkle.core.repository_files import repository_folder
from twinkle.core.signature import named_parameters
from twinkle.core.suggestion import did_you_mean

_DTYPE_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}
_FURTHER_ARGUMENTS = (
    "dtype",
    "attn_implementation",
    "experts_implementation",
    "quantization_config",
    "device_map",
    "subfolder",
    "use_kernels",
)
"""Of ``from_pretrained``, which its signature does not name: for suggestions only."""


def load_model(
    model_cls: Any,
    model_id: str | Path | None,
    config: PretrainedConfig | None,
    device: torch.device,
    from_pretrained: dict[str, Any],
    own_arguments: Iterable[str],
) -> PreTrainedModel:
    """The model of ``model_id``, or a new one of ``config`` with random weights, in float32 unless a ``dtype`` is asked for.

    Args:
        model_cls: a class with ``from_pretrained``, the name of one in transformers, or None for ``AutoModelForCausalLM``.
        from_pretrained: more keyword arguments of ``from_pretrained``, of which only transformers knows all.
        own_arguments: what the caller takes itself: a keyword that is left over may be one of these, misspelt.

    Raises:
        InvalidArgument: neither ``model_id`` nor ``config``, ``trust_remote_code``, or a keyword that transformers does not take.
    """
    options = dict(from_pretrained)
    if options.pop("trust_remote_code", False):
        raise InvalidArgument(
            "trust_remote_code: code of a repository runs only after its exact bytes were approved; no switch allows all of it"
        )
    dtype = torch_dtype(options.pop("dtype", options.pop("torch_dtype", None)))
    model_class = _model_class(model_cls)
    try:
        model = _made(model_class, model_id, config, dtype, options)
    except TypeError as error:
        # What is neither an argument nor a field of the configuration, transformers hands to the constructor of the model.
        refused = [name for name in options if f"unexpected keyword argument {name!r}" in str(error)]
        if not refused:
            raise
        known = [*own_arguments, *named_parameters(PreTrainedModel.from_pretrained), *_FURTHER_ARGUMENTS]
        raise InvalidArgument(
            f"neither TransformersModel nor the model of transformers takes the argument {refused[0]!r}, and the model's configuration has "
            f"no such field.{did_you_mean(refused[0], known)}"
        ) from error
    return cast(PreTrainedModel, model.to(device))


def _made(
    model_class: Any, model_id: str | Path | None, config: PretrainedConfig | None, dtype: torch.dtype, options: dict[str, Any]
) -> Any:
    if model_id is not None:
        folder = repository_folder(model_id, "model")
        given = {} if config is None else {"config": config}
        return model_class.from_pretrained(folder, dtype=dtype, **given, **options)
    if config is None:
        raise InvalidArgument("a model needs model_id='owner/name' (or a folder), or config= for random weights")
    if hasattr(model_class, "from_config"):  # the Auto classes
        return model_class.from_config(config, dtype=dtype, **options)
    if isinstance(model_class, type) and issubclass(model_class, PreTrainedModel):
        return cast(Any, model_class)._from_config(
            config, dtype=dtype, **options
        )  # what the Auto classes come to; it takes attn_implementation
    return model_class(config, **options).to(dtype)


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
