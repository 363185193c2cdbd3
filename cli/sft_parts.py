"""The parts of a supervised fine-tuning run, built by name and connected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinkle.cli.argument_check import check_written_arguments
from twinkle.cli.sft_config import DatasetConfig, SFTConfig
from twinkle.core.components import build, resolve
from twinkle.core.errors import InvalidConfig
from twinkle.core.repository_files import locate
from twinkle.core.resolved import Resolved
from twinkle.core.signature import named_parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Everything is built, nothing is trained yet."""

    config: SFTConfig
    model: Any
    dataloader: Any
    eval_dataloader: Any | None
    num_steps: int
    """Optimizer steps of the whole run."""


def resolve_parts(config: SFTConfig) -> list[Resolved]:
    """Every component that ``config`` names, imported but not built, with its arguments checked as far as signatures tell.

    Raises:
        LookupError: an unknown name.
        TypeError: an argument that a component does not take.
        InvalidRef: the model or a data set is neither an existing path nor written as the id of a repository.
    """
    locate(config.model, "model")
    for table in (*config.dataset, *config.eval_dataset):
        locate(table.id, "dataset")
    uses = [
        ("model", config.backend),
        ("template", config.template),
        *(("preprocessor", d.preprocessor) for d in (*config.dataset, *config.eval_dataset) if d.preprocessor is not None),
        *(("patch", patch) for patch in config.patches),
        ("loss", config.loss),
        *(("metric", metric) for metric in config.metrics),
        ("optimizer", config.optimizer),
        *([] if config.lr_scheduler is None else [("lr_scheduler", config.lr_scheduler)]),
        *(("tracker", tracker) for tracker in config.trackers),
    ]
    found = []
    for kind, use in uses:
        resolved = resolve(kind, use.use)
        if isinstance(resolved.cls, type):
            check_written_arguments(resolved.cls, use.arguments, f"{kind} {use.use!r}")
        found.append(resolved)
    return found


def build_parts(config: SFTConfig) -> Parts:
    """Seeds the process, loads data and model, and connects the parts.

    Raises:
        LookupError: an unknown name.
        TypeError: an argument that a component does not take.
        ValueError: data that cannot be used, or too little of it for one optimizer step.
    """
    from twinkle.core.runtime.initialize import initialize  # brings numpy, which `twinkle --help` must not pay

    initialize(seed=config.seed)
    resolve_parts(config)  # a typo in the last part is told before the first byte is loaded
    dataset = load_dataset(config, config.dataset, config.packing)
    dataloader = build("dataloader", "dataloader", dataset=dataset, batch_size=config.batch_size, shuffle=config.shuffle)
    eval_dataloader = None
    if config.eval_dataset:
        eval_dataset = load_dataset(config, config.eval_dataset)
        eval_dataloader = build("dataloader", "dataloader", dataset=eval_dataset, batch_size=config.batch_size)
    num_steps = config.max_steps or config.num_epochs * len(dataloader) // config.gradient_accumulation_steps
    if num_steps == 0:
        batches = f"{config.num_epochs} x {len(dataloader)} batches of {config.batch_size} rows"
        raise InvalidConfig(f"{batches} are less than gradient_accumulation_steps={config.gradient_accumulation_steps}: no optimizer step")
    model = _build_model(config, num_steps)
    return Parts(config=config, model=model, dataloader=dataloader, eval_dataloader=eval_dataloader, num_steps=num_steps)


def load_messages(tables: tuple[DatasetConfig, ...], packing: bool = False) -> Any:
    """The data sets of ``tables`` side by side, preprocessed, neither mixed nor encoded."""
    metas = [_meta(table) for table in tables]
    dataset = build("dataset", "packing" if packing else "dataset", dataset_meta=metas[0])
    for meta in metas[1:]:
        dataset.add_dataset(meta)
    for meta, table in zip(metas, tables, strict=True):
        if table.preprocessor is not None:
            dataset.map(table.preprocessor.use, dataset_meta=meta, init_args=dict(table.preprocessor.arguments))
    return dataset


def load_dataset(config: SFTConfig, tables: tuple[DatasetConfig, ...], packing: bool = False) -> Any:
    """The data sets of ``tables`` as one, checked where they ask for it, encoded and, if asked, packed."""
    dataset = load_messages(tables, packing)
    dataset.set_template(config.template.use, **{"model_id": config.model, **config.template.arguments})
    for table in tables:
        if table.check:
            dataset.check(dataset_meta=_meta(table))
    dataset.mix_dataset()
    dataset.encode()
    if packing:
        dataset.pack_dataset()
    return dataset


def _meta(table: DatasetConfig) -> dict[str, Any]:
    rows = None if table.num_rows is None else range(table.num_rows)
    return {"dataset_id": table.id, "subset_name": table.subset, "split": table.split, "data_slice": rows}


def _build_model(config: SFTConfig, num_steps: int) -> Any:
    model = build("model", config.backend.use, **{"model_id": config.model, **config.backend.arguments})
    for patch in config.patches:
        model.apply_patch(patch.use, **patch.arguments)
    if config.lora is not None:
        from peft import LoraConfig

        lora = config.lora
        targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
        model.add_adapter_to_model(
            "default", LoraConfig(r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets)
        )
    model.set_template(config.template.use, **{"model_id": config.model, **config.template.arguments})
    model.set_loss(config.loss.use, **config.loss.arguments)
    for metric in config.metrics:
        model.add_metric(metric.use, **metric.arguments)
    model.set_optimizer(config.optimizer.use, **config.optimizer.arguments)
    if config.lr_scheduler is not None:
        takes = named_parameters(resolve("lr_scheduler", config.lr_scheduler.use).cls)
        offered = {"num_training_steps": num_steps} if "num_training_steps" in takes else {}
        model.set_lr_scheduler(config.lr_scheduler.use, **{**offered, **config.lr_scheduler.arguments})
    return model
