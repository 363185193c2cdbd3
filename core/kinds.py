"""The kinds of component: what a loss, a metric, a patch ... is, as data. A plugin adds a kind with the hook ``twinkle_kinds``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from twinkle.core.errors import InvalidConfig

_KIND_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_RESERVED = frozenset({"file", "py"})


@dataclass(frozen=True, kw_only=True, slots=True)
class KindSpec:
    """One kind of component."""

    name: str
    """Singular, small letters: what stands before the colon in ``loss:grpo``."""
    hook: str
    """The hook that collects its names, ``twinkle_<plural>``."""
    contract: str
    """``module:Class`` of the protocol that a component of this kind fulfils; its abstract methods are what is checked."""
    summary: str
    """One line for listings."""
    takes_function: bool = False
    """Whether a plain function is a component of this kind."""

    def __post_init__(self) -> None:
        if not _KIND_NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise InvalidConfig(f"kind name {self.name!r}: expected small letters, digits and '_', other than {sorted(_RESERVED)}")
        if not self.hook.startswith("twinkle_"):
            raise InvalidConfig(f"kind {self.name!r}: its hook must be named 'twinkle_<plural>', got {self.hook!r}")


def _kind(name: str, plural: str, contract: str, summary: str, takes_function: bool = False) -> KindSpec:
    module = f"twinkle.core.contracts.{name}"
    return KindSpec(name=name, hook=f"twinkle_{plural}", contract=f"{module}:{contract}", summary=summary, takes_function=takes_function)


KINDS: tuple[KindSpec, ...] = (
    _kind("loss", "losses", "Loss", "turns model outputs into a sum and its denominator", takes_function=True),
    _kind("metric", "metrics", "Metric", "accumulates over steps and calculates named values"),
    _kind("patch", "patches", "Patch", "changes a model or a library, and can be undone"),
    _kind("preprocessor", "preprocessors", "Preprocessor", "turns a raw row into a trajectory of messages", takes_function=True),
    _kind("filter", "filters", "Filter", "says whether a row stays", takes_function=True),
    _kind("processor", "processors", "Processor", "collates features into a batch", takes_function=True),
    _kind("reward", "rewards", "Reward", "scores trajectories", takes_function=True),
    _kind("advantage", "advantages", "Advantage", "turns rewards of sampled groups into advantages", takes_function=True),
    _kind("kernel", "kernels", "Kernel", "a fast implementation beside its reference"),
    _kind("sampler", "samplers", "Sampler", "generates sequences from prompts"),
    _kind("template", "templates", "Template", "turns messages into token ids and labels"),
    _kind("model", "models", "Model", "holds weights, runs steps, saves checkpoints"),
    _kind("dataset", "datasets", "Dataset", "rows, mapped and encoded"),
    _kind("dataloader", "dataloaders", "DataLoader", "yields batches of rows"),
    _kind("checkpoint_engine", "checkpoint_engines", "CheckpointEngine", "carries weights from a trainer to samplers"),
    _kind("optimizer", "optimizers", "Optimizer", "updates parameters from gradients"),
    _kind("lr_scheduler", "lr_schedulers", "LRScheduler", "sets the learning rate of each optimizer step"),
    _kind("executor", "executors", "Executor", "carries out the placement that remote classes and functions describe"),
    _kind("hub", "hubs", "Hub", "fetches the files of models and data sets"),
    _kind("environment", "environments", "Environment", "a task that an agent acts in"),
)
