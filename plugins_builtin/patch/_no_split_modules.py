"""Says which layers of a model are never split over devices or FSDP units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from twinkle.core.contracts.patch import Journal
from twinkle.core.errors import InvalidArgument
from twinkle.core.suggestion import did_you_mean


@dataclass(frozen=True, slots=True)
class NoSplitModulesPatch:
    """``model._no_split_modules = module_names``: for models that declare none, or too coarse ones."""

    module_names: Sequence[str]
    """Class names of layers, such as ``("Qwen3DecoderLayer",)``."""

    def apply(self, target: nn.Module, journal: Journal) -> None:
        """Sets the attribute on the model and on each submodule that has it.

        Raises:
            InvalidArgument: the model has no layer of such a class.
        """
        if isinstance(self.module_names, str):
            raise InvalidArgument(f"module_names: expected a list of class names, got the string {self.module_names!r}")
        present = {type(module).__name__ for module in target.modules()}
        for name in self.module_names:
            if name not in present:
                raise InvalidArgument(f"no layer of this model is a {name!r}.{did_you_mean(name, present)}")
        for module in target.modules():
            if module is target or "_no_split_modules" in vars(module):
                journal.setattr(module, "_no_split_modules", list(self.module_names))
