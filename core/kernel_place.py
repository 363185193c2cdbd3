"""What a key of ``kernelize`` means: the layers of a model that are of a class, or a function of a module."""

from __future__ import annotations

import inspect
import sys
import types
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from twinkle.core.errors import InvalidArgument
from twinkle.core.layer_class import class_attribute
from twinkle.core.suggestion import did_you_mean


@runtime_checkable
class LayerTree(Protocol):
    """A torch module, as far as its layers are looked at."""

    @abstractmethod
    def modules(self) -> Iterator[Any]:
        """The module itself and every layer below."""

    @abstractmethod
    def parameters(self) -> Iterator[Any]:
        """Its weights."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a model that are of one class."""

    name: str
    found: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ModuleFunction:
    """A function (or an object that is called like one) at the top of a Python module."""

    module: types.ModuleType
    name: str

    @property
    def value(self) -> Any:
        """What stands there now."""
        return vars(self.module)[self.name]

    @property
    def parameters(self) -> Callable[..., Any]:
        """What says which arguments it takes: ``forward``, where transformers made the function a layer."""
        value = self.value
        forward: Callable[..., Any] = value.forward if class_attribute(type(value), "forward") is not None else value
        return forward


def find_place(model: LayerTree, key: object) -> Layers | ModuleFunction:
    """What ``key`` means for ``model``: a class, the name of one, or the dotted path of either a class or a function.

    Raises:
        InvalidArgument: nothing of the kind is there; the message names what is.
    """
    if isinstance(key, type):
        return _layers(model, key.__name__, key)
    if not isinstance(key, str):
        raise InvalidArgument(f"kernelize: expected a layer's class, its name or the dotted path of a function, got {key!r}")
    module_name, _, name = key.rpartition(".")
    if not module_name:
        return _layers(model, name, None)
    module = sys.modules.get(module_name)
    if module is None:
        raise InvalidArgument(f"kernelize: {key!r}: no module {module_name!r} is loaded, so that nothing of it can be in use by this model")
    value = vars(module).get(name)
    if isinstance(value, type):
        return _layers(model, value.__name__, value)
    if not callable(value):
        functions = [n for n, v in vars(module).items() if callable(v) and not isinstance(v, type)]
        raise InvalidArgument(f"kernelize: {module_name} has no function {name!r}.{did_you_mean(name, functions)}")
    return ModuleFunction(module, name)


def _layers(model: LayerTree, name: str, cls: type | None) -> Layers:
    # A class that a kernel was swapped in for keeps the name of the one below it.
    found = tuple(m for m in model.modules() if type(m).__name__ == name and (cls is None or issubclass(type(m), cls)))
    if not found:
        raise InvalidArgument(f"kernelize: no layer of this model is a {name!r}.{did_you_mean(name, layer_names(model))}")
    classes = {type(m) for m in found}
    roots = sorted(f"{c.__module__}.{c.__qualname__}" for c in classes if not any(c is not o and issubclass(c, o) for o in classes))
    if len(roots) > 1:  # an adapter's "Linear" around a "Linear", say: one forward pass for both would leave the adapter out
        raise InvalidArgument(
            f"kernelize: {name!r} are layers of {len(roots)} classes: give one of {', '.join(roots)} in full, or the class"
        )
    return Layers(name, found)


def layer_names(model: LayerTree) -> frozenset[str]:
    """The class names of the model's layers."""
    return frozenset(type(layer).__name__ for layer in model.modules())


def check_signature(what: str, new: Callable[..., Any], old: Callable[..., Any]) -> None:
    """Raises :class:`InvalidArgument` unless ``new`` can be called wherever ``old`` is. A builtin without a signature is believed.

    A single input has whatever name it likes, for it is given by place; of several, models give some by name.
    """
    try:
        wanted, given = inspect.signature(old), inspect.signature(new)
    except ValueError:
        return
    kinds = {name: parameter.kind for name, parameter in wanted.parameters.items()}
    by_place = [
        name for name, kind in kinds.items() if kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    by_either = [name for name in by_place[1:] if kinds[name] is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    named = dict.fromkeys(name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY)
    num_required = sum(wanted.parameters[name].default is inspect.Parameter.empty for name in by_place)
    open_ended = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} & set(kinds.values())
    try:
        given.bind(*by_place, **named)
        given.bind(*by_place[:num_required], **named)
        if len(by_either) > 1:
            given.bind(*by_place[: -len(by_either)], **dict.fromkeys(by_either), **named)
        takes_all = open_ended <= {p.kind for p in given.parameters.values()}
    except TypeError:
        takes_all = False
    if not takes_all:
        raise InvalidArgument(f"{what}: expected something that takes {wanted}, got {given}")
