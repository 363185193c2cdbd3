"""Does an object fulfil the contract of its kind? Only what can be seen without running it: the methods that the contract calls abstract."""

from __future__ import annotations

import importlib
import types

from twinkle.core.errors import ContractViolation
from twinkle.core.kinds import KindSpec


def required_methods(spec: KindSpec) -> frozenset[str]:
    """The abstract methods of the kind's contract."""
    module, _, name = spec.contract.partition(":")
    contract: type = getattr(importlib.import_module(module), name)
    methods: frozenset[str] = contract.__abstractmethods__  # type: ignore[attr-defined]
    return methods


def check_contract(spec: KindSpec, component: object, what: str) -> None:
    """Raises :class:`ContractViolation` unless ``component`` (a class, an instance, a function) can be a ``spec.name``."""
    if isinstance(component, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        if not spec.takes_function:
            raise ContractViolation(f"{what} is a function, but a {spec.name} is a class: see {spec.contract}")
        return
    holder = component if isinstance(component, type) else type(component)
    missing = sorted(m for m in required_methods(spec) if not callable(getattr(holder, m, None)))
    if missing:
        raise ContractViolation(f"{what} is no {spec.name}: it lacks {', '.join(missing)}; the contract is {spec.contract}")
