"""Checkpoints: a folder that plain transformers and PEFT load, with everything beside it that a run needs to go on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel

from twinkle.core.atomic_folder import atomic_folder, recover_folder, recover_folders, remove_folder
from twinkle.core.errors import CheckpointError
from twinkle.core.repository_files import repository_folder
from twinkle.plugins_builtin.model.transformers._adapter import read_adapter, write_adapter
from twinkle.plugins_builtin.model.transformers._optimizer_group import OptimizerGroup
from twinkle.plugins_builtin.model.transformers._training_state import STATE_FILE, read_counters, write_state

DEFAULT_OUTPUT_DIR = "output"

_NUMBERED = re.compile(r"checkpoint-(?:step-)?(\d+)")


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
                _write_tokenizer(tokenizer, folder)
            write_state(folder, group, consumed_train_samples, with_optimizer)
    except (OSError, SafetensorError) as error:
        before = "the checkpoint that was there before is whole" if target.exists() else "nothing was left behind"
        raise CheckpointError(f"checkpoint {target} could not be written, {before}: {error}") from error


def numbered_checkpoints(output_dir: str | Path) -> list[Path]:
    """The whole checkpoints of ``output_dir`` that are named by their step (``checkpoint-step-12``), the latest last."""
    folder = Path(output_dir)
    if not folder.is_dir():
        return []
    recover_folders(folder)
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NUMBERED.fullmatch(path.name))]
    return [path for _, path in sorted(found) if (path / STATE_FILE).is_file()]


def prune_checkpoints(newest: Path, adapter_name: str, limit: int) -> list[Path]:
    """Removes the oldest checkpoints beside ``newest``, which was just written, until ``limit`` are left; returns those removed.

    Only checkpoints that are named by their step count, and only those of ``adapter_name``; ``newest`` always stays. Each is removed as a
    whole: a run that is killed meanwhile finds no half checkpoint.
    """
    others = [p for p in numbered_checkpoints(newest.parent) if p.name != newest.name and read_counters(p)["adapter_name"] == adapter_name]
    surplus = others[: max(len(others) - limit + 1, 0)]
    for path in surplus:
        remove_folder(path)
    return surplus


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
        CheckpointError: the folder holds weights of another kind or shape; the model is as it was.
    """
    try:
        if group.adapter_name:
            assert isinstance(model, PeftModel)
            read_adapter(model, group.adapter_name, folder)
        else:
            _read_full(folder, base)
    except SafetensorError as error:
        raise CheckpointError(f"{folder}: a weight file is damaged: {error}") from error


def _read_full(folder: Path, base: PreTrainedModel) -> None:
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no full model: expected config.json, found {sorted(p.name for p in folder.iterdir())}")
    # from_pretrained undoes whatever save_pretrained did to names and shapes (fused experts, tied or split weights, shards).
    loaded, report = type(base).from_pretrained(folder, dtype=base.dtype, output_loading_info=True)
    if report["missing_keys"]:
        raise CheckpointError(f"{folder}: its weight files lack {sorted(report['missing_keys'])[:3]}")
    stored = loaded.state_dict()
    different = sorted({(n, v.shape) for n, v in stored.items()} ^ {(n, v.shape) for n, v in base.state_dict().items()})
    if different:
        examples = ", ".join(f"{name} {tuple(shape)}" for name, shape in different[:4])
        raise CheckpointError(f"{folder} holds a model of another shape than this one, for example {examples}")
    base.load_state_dict(stored)


def _write_tokenizer(tokenizer: Any, folder: Path) -> None:
    try:
        tokenizer.save_pretrained(folder)
    except Exception as error:  # the tokenizers library says a full disk by a bare Exception
        raise OSError(f"the tokenizer could not be written: {error}") from error
