"""A component as the checks see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twinkle.core.components import build_resolved, resolve
from twinkle.core.errors import InvalidArgument
from twinkle.core.signature import named_parameters
from twinkle.testing.example import Example

if TYPE_CHECKING:
    from twinkle.testing.import_report import ImportWatch

E = TypeVar("E", bound=Example)


@dataclass(frozen=True, kw_only=True, eq=False)
class Specimen:
    """One component under test."""

    kind: str
    name: str
    component: object
    """The class or function itself, or any reference that ``twinkle.resolve`` takes."""
    example: Example | None = None
    dependencies: tuple[str, ...] = ()
    """Distributions that it says it needs; importing them is not counted against it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The JSON schema of its init arguments, where its manifest has one."""
    folder: Path | None = None
    """Its repository."""
    fresh: ImportWatch | None = None
    """The other Python in which its import is watched."""

    @property
    def id(self) -> str:
        """``kind:name``."""
        return f"{self.kind}:{self.name}"

    @property
    def cls(self) -> Any:
        """The class or function."""
        return resolve(self.kind, self.component).cls

    def build(self, **offered: Any) -> Any:
        """A new instance from the example's arguments, and from those of ``offered`` and :func:`loop_arguments` that its constructor
        names; a function is itself."""
        arguments = {} if self.example is None else self.example.arguments()
        resolved = resolve(self.kind, self.component)
        return build_resolved(resolved, arguments, {**loop_arguments(self.kind, resolved.cls), **offered})

    def example_of(self, cls: type[E]) -> E:
        """Its example as a ``cls``; a plain one is completed by the defaults of ``cls``.

        Raises:
            InvalidArgument: ``cls`` has no defaults: nothing could be checked without an example.
        """
        if isinstance(self.example, cls):
            return self.example
        try:
            return cls(init={} if self.example is None else self.example.init)
        except TypeError as error:
            message = f"{self.id} cannot be checked without an example: pass examples={{{self.id!r}: {cls.__name__}(...)}} ({error})"
            raise InvalidArgument(message) from error


def loop_arguments(kind: str, cls: object) -> dict[str, Any]:
    """What a training loop gives to the constructor of ``cls`` by itself, as far as that names it."""
    match kind:
        case "optimizer" | "lr_scheduler":
            import torch

            params = [torch.nn.Parameter(torch.ones(2))]
            given = {"params": params, "lr": 0.1} if kind == "optimizer" else {"optimizer": torch.optim.SGD(params, lr=0.1)}
        case "dataloader":
            given = {"dataset": [{"row": 1}, {"row": 2}], "batch_size": 2}
        case _:
            return {}
    names = named_parameters(cls) if isinstance(cls, type) else {}
    return {name: value for name, value in given.items() if name in names}
