"""Checkpoints: a folder that plain transformers and PEFT load, with everything beside it that a run needs to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel

from twinkle.core.atomic_folder import atomic_folder, recover_folder
from twinkle.core.errors import CheckpointError
from twinkle.core.repository_files import repository_folder
from twinkle.plugins_builtin.model.transformers._adapter import read_adapter, write_adapter
from twinkle.plugins_builtin.model.transformers._optimizer_group import OptimizerGroup
from twinkle.plugins_builtin.model.transformers._training_state import write_state

DEFAULT_OUTPUT_DIR = "output"


def write_checkpoint(
    target: Path,
    model: PreTrainedModel | PeftModel,
    base: PreTrainedModel,
    group: OptimizerGroup,
    tokenizer: Any,
    consumed_train_samples: int | None,
    with_optimizer: bool,
) -> None:
    """Writes ``target`` as a whole or not at all.

    Raises:
        CheckpointError: the disk is full, or not writable; what ``target`` held before is untouched.
    """
    try:
        with atomic_folder(target) as folder:
            if group.adapter_name:
                assert isinstance(model, PeftModel)
                write_adapter(model, group.adapter_name, folder)
            else:
                base.save_pretrained(folder)
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)
            write_state(folder, group, consumed_train_samples, with_optimizer)
    except (OSError, SafetensorError) as error:
        before = "the checkpoint that was there before is whole" if target.exists() else "nothing was left behind"
        raise CheckpointError(f"checkpoint {target} could not be written, {before}: {error}") from error


def checkpoint_folder(name: str | Path, output_dir: str | Path | None) -> Path:
    """The folder that ``name`` means: a path, a name under ``output_dir`` (``output`` without), or a hub id.

    Raises:
        CheckpointError: a local name that is not there.
        HubUnavailable: no hub serves the id.
    """
    candidates = [Path(output_dir or DEFAULT_OUTPUT_DIR) / name, *([] if output_dir is not None else [Path(name)])]
    for candidate in candidates:
        recover_folder(candidate)
        if candidate.is_dir():
            return candidate
    if "://" in str(name):
        return repository_folder(name, "model")
    raise CheckpointError(
        f"no checkpoint {str(name)!r}: expected the folder {' or '.join(str(c) for c in candidates)}, or a hub id 'ms://owner/name'"
    )


def read_weights(folder: Path, model: PreTrainedModel | PeftModel, base: PreTrainedModel, group: OptimizerGroup) -> None:
    """Reads the weights of ``folder`` into the adapter, or the whole model, of ``group``.

    Raises:
        CheckpointError: the folder holds weights of another kind or shape.
    """
    if group.adapter_name:
        assert isinstance(model, PeftModel)
        read_adapter(model, group.adapter_name, folder)
        return
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no full model: expected config.json, found {sorted(p.name for p in folder.iterdir())}")
    # from_pretrained undoes whatever save_pretrained did to names and shapes (fused experts, tied or split weights, shards).
    loaded = type(base).from_pretrained(folder, dtype=base.dtype)
    base.load_state_dict(loaded.state_dict())
