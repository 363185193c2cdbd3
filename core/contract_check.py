"""Does an object fulfil the contract of its kind? Only what shows without running it: the methods that the contract calls abstract."""

from __future__ import annotations

import types

from twinkle.core.errors import ContractViolation
from twinkle.core.import_string import import_attribute
from twinkle.core.kinds import KindSpec


def contract_class(spec: KindSpec) -> type:
    """The protocol that components of this kind fulfil."""
    contract = import_attribute(spec.contract, f"the contract of the kind {spec.name!r}")
    if not isinstance(contract, type):
        raise ContractViolation(f"the contract of the kind {spec.name!r} has to be a class, {spec.contract} is {contract!r}")
    return contract


def required_methods(spec: KindSpec) -> frozenset[str]:
    """The abstract methods of the kind's contract."""
    return _abstract_methods(contract_class(spec))


def missing_methods(spec: KindSpec, cls: type) -> list[str]:
    """The methods of the kind's contract that ``cls`` does not implement."""
    return sorted(method for method in required_methods(spec) if not _has_method(cls, method))


def check_contract(spec: KindSpec, component: object, what: str) -> None:
    """Raises :class:`ContractViolation` unless ``component`` (a class, an instance, a function) can be a ``spec.name``."""
    if isinstance(component, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        if not spec.takes_function:
            raise ContractViolation(f"{what} is a function, but a {spec.name} is a class: see {spec.contract}")
        return
    holder = component if isinstance(component, type) else type(component)
    missing = missing_methods(spec, holder)
    if missing and not (spec.takes_function and _has_method(holder, "__call__")):
        raise ContractViolation(f"{what} is no {spec.name}: it lacks {', '.join(missing)}; the contract is {spec.contract}")


def _has_method(cls: type, method: str) -> bool:
    # By hand, because getattr(cls, "__call__") finds the metaclass's own: every class can be called.
    found = next((vars(base)[method] for base in cls.__mro__ if method in vars(base)), None)
    return found is not None and method not in _abstract_methods(cls)


def _abstract_methods(cls: type) -> frozenset[str]:
    return frozenset(getattr(cls, "__abstractmethods__", ()))  # only classes with abstract methods have the attribute
