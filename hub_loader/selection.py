"""Which object of a component's tree a reference means."""

from __future__ import annotations

import types
from typing import Any

from twinkle.core.contract_check import contract_class, required_methods
from twinkle.core.errors import AmbiguousComponent
from twinkle.core.kinds import KindSpec
from twinkle.core.legacy_patch import is_legacy_patch
from twinkle.core.suggestion import did_you_mean
from twinkle.hub_loader.errors import NoComponent
from twinkle.hub_loader.manifest import Manifest, ManifestComponent

ONLY = "*"
"""The attribute of an entry that means "the only component of its kind": the legacy layout, where only an import can tell its name."""


def select_listed(manifest: Manifest, kind: str, name: str | None, where: str) -> ManifestComponent:
    """The ``[[component]]`` that ``kind`` and ``name`` (its name, or that of its class; None: the only one of the kind) mean.

    Raises:
        NoComponent: there is none.
        AmbiguousComponent: several are of the kind, and no name was given.
    """
    of_kind = [c for c in manifest.components if c.kind == kind]
    if name is not None:
        for component in of_kind:
            if name in (component.name, component.entry.rpartition(":")[2]):
                return component
        others = [f"{c.kind} {c.name}" for c in manifest.components if c.kind != kind and name == c.name]
        hint = f" It is a {others[0].split()[0]}." if others else did_you_mean(name, [c.name for c in of_kind])
        raise NoComponent(f"{where} has no {kind} named {name!r}.{hint}")
    if not of_kind:
        raise NoComponent(f"{where} has no {kind}. It has: {', '.join(f'{c.kind} {c.name}' for c in manifest.components)}")
    if len(of_kind) > 1:
        raise AmbiguousComponent(_choose_one(where, kind, [c.name for c in of_kind]))
    return of_kind[0]


def select_only(module: types.ModuleType, package: str, spec: KindSpec, where: str) -> Any:
    """The one class of the kind ``spec`` among the names of ``module`` whose definition lies inside ``package``.

    Subclasses of the contract count; where there are none, classes that have its methods do.

    Raises:
        NoComponent: there is none.
        AmbiguousComponent: there are several.
    """
    own = {
        value.__qualname__: value
        for name, value in vars(module).items()
        if isinstance(value, type) and not name.startswith("_") and is_inside(value, package)
    }
    contract = contract_class(spec)
    found = {name: cls for name, cls in own.items() if contract in cls.__mro__}
    if not found:
        required = required_methods(spec)
        found = {name: cls for name, cls in own.items() if _fulfils(cls, required, spec)}
    if not found:
        hint = " A function has to be named: write '#' and its name." if spec.takes_function else ""
        raise NoComponent(f"{where} defines no {spec.name}; the contract is {spec.contract}.{hint}")
    if len(found) > 1:
        raise AmbiguousComponent(_choose_one(where, spec.name, sorted(found)))
    return next(iter(found.values()))


def select_named(module: types.ModuleType, attribute: str, package: str, where: str) -> Any:
    """``module.attribute``, which has to be defined inside ``package``: data must not pick a callable of somebody else.

    Raises:
        NoComponent: it is not there, or comes from elsewhere.
    """
    names = {name for name in vars(module) if not name.startswith("__")}
    if attribute not in names:
        raise NoComponent(f"{where} has no {attribute!r}.{did_you_mean(attribute, names)}")
    value = vars(module)[attribute]
    if not isinstance(value, type | types.FunctionType) or not is_inside(value, package):
        raise NoComponent(f"{where}: {attribute!r} is no class or function that is defined there")
    return value


def _fulfils(cls: type, required: frozenset[str], spec: KindSpec) -> bool:
    return all(callable(getattr(cls, method, None)) for method in required) or (spec.name == "patch" and is_legacy_patch(cls))


def is_inside(value: type | types.FunctionType, package: str) -> bool:
    """Whether ``value`` says that it was defined in ``package`` or below."""
    return value.__module__ == package or value.__module__.startswith(package + ".")


def _choose_one(where: str, kind: str, names: list[str]) -> str:
    shown = " or ".join(f"'#{name}'" for name in names)
    return f"{where} has several components of the kind {kind}: write {shown} after it"
