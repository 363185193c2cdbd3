"""The text of ``get_train_configs``: what is trained, with what, and where each part comes from."""

from __future__ import annotations

import json
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from twinkle.plugins_builtin.model.transformers._optimizer_group import OptimizerGroup

_NUM_EXAMPLES = 5


def describe_training(model_id: str, model: PreTrainedModel | PeftModel, base: PreTrainedModel, group: OptimizerGroup) -> str:
    """Several lines: backbone, adapter, parameters, optimizer, schedule, accumulation, and the provenance of every component."""
    trained = sum(p.numel() for p in group.named_parameters.values())
    total = sum(p.numel() for p in model.parameters())
    lines = [
        f"Backbone: {model_id} ({type(base).__name__}, {base.dtype}, {base.device})",
        f"Trained parameters: {trained:,} of {total:,} ({100 * trained / max(total, 1):.4f} %), for example:",
        *(f"  {name} {tuple(p.shape)}" for name, p in list(group.named_parameters.items())[:_NUM_EXAMPLES]),
    ]
    if isinstance(model, PeftModel) and group.adapter_name:
        lines.insert(1, f"Adapter {group.adapter_name!r}: {_adapter_config(model, group.adapter_name)}")
    lines.append(f"Loss: {group.loss_name}")
    if group.optimizer is not None:
        lines.append(f"Optimizer: {type(group.optimizer).__name__}")
        for index, param_group in enumerate(group.optimizer.param_groups):
            values = {k: v for k, v in param_group.items() if k not in ("params", "param_names") and v is not None}
            lines.append(f"  group {index}: {len(param_group['params'])} tensors, " + ", ".join(f"{k}={v}" for k, v in values.items()))
    if group.lr_scheduler is not None:
        lines.append(f"Learning-rate scheduler: {type(group.lr_scheduler).__name__}")
    lines.append(f"Gradient accumulation steps: {group.engine.gradient_accumulation_steps}")
    lines.append("Components:")
    lines.extend(f"  {role}: {_provenance(fields)}" for role, fields in sorted(group.provenance.items()))
    return "\n".join(lines)


def _adapter_config(model: PeftModel, name: str) -> str:
    config: dict[str, Any] = {k: v for k, v in model.peft_config[name].to_dict().items() if v not in (None, {}, [], False)}
    return json.dumps(config, default=lambda v: sorted(v) if isinstance(v, set) else str(v), sort_keys=True)


def _provenance(fields: dict[str, str]) -> str:
    where = " ".join(f"{name}={fields[name]}" for name in ("dist", "version", "repo", "commit", "h1") if name in fields)
    return f"{fields['ref']} -> {fields['entry']} [{fields['origin']}{' ' + where if where else ''}]"
