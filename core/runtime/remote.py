"""``remote_class`` and ``remote_function``: they attach a description, and construction hands it to the executor of the process.

In local mode a described class is constructed, and a described method called, as if nothing had been said.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any, Protocol, TypeVar

from twinkle.core.errors import InvalidArgument
from twinkle.core.mesh import DeviceMesh
from twinkle.core.runtime.context import current
from twinkle.core.runtime.placement import (
    COLLECT_RULES,
    DISPATCH_RULES,
    EXECUTE_RULES,
    Collect,
    Dispatch,
    Execute,
    Placement,
    RemoteClass,
    RemoteMethod,
)
from twinkle.core.signature import constructor_of
from twinkle.core.suggestion import did_you_mean

C = TypeVar("C", bound=type[Any])
F = TypeVar("F", bound=Callable[..., Any])

_PLACEMENT_PARAMETERS = ("remote_group", "instance_id", "device_mesh")
_DESCRIPTION = "__twinkle_remote__"


class PlacedType(type(Protocol)):  # type: ignore[misc]  # Protocol's metaclass, so that a described class may fulfil one explicitly
    """The type of described classes: constructing one asks the executor, and takes the placement arguments beside its own."""

    @property
    def __signature__(cls) -> Signature:
        """That of the constructor, followed by the placement arguments."""
        own = _constructor_signature(cls)
        added = [Parameter(n, Parameter.KEYWORD_ONLY, default=None) for n in _PLACEMENT_PARAMETERS if n not in own.parameters]
        parameters = list(own.parameters.values())
        end = len(parameters) - (1 if parameters and parameters[-1].kind is Parameter.VAR_KEYWORD else 0)
        return own.replace(parameters=[*parameters[:end], *added, *parameters[end:]])

    def __instancecheck__(cls, instance: object) -> bool:
        """As for any class: Protocol's own check asks for marks that only protocols and their subclasses bear."""
        return type.__instancecheck__(cls, instance)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """An instance, where its placement says.

        Raises:
            InvalidArgument: an argument that the class does not take (with a suggestion), one that it lacks, or a group that is not there.
            InvalidConfig: the mesh does not fit the processes of this run.
        """
        context = current()
        placement = _place(cls, args, kwargs)
        component = context.running_executor().construct(placement, context.layout())
        context.record(placement)
        return component


def remote_class(execute: Execute = "all") -> Callable[[C], C]:
    """Describes a class whose instances may live on the workers of a device group.

    Its constructor takes ``remote_group=``, ``instance_id=`` and ``device_mesh=`` besides its own arguments; a parameter of its own that is
    annotated with ``DeviceMesh`` is filled with the mesh of the run where the user leaves it out. A class whose type is not yet
    :class:`PlacedType` is returned as a subclass of the same name; itself it is not touched.
    """
    _check_rule("remote_class", "execute", execute, EXECUTE_RULES)

    def describe(cls: C) -> C:
        description = RemoteClass(execute=execute)
        if isinstance(cls, PlacedType):
            setattr(cls, _DESCRIPTION, description)
            return cls
        namespace = {
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
            "__slots__": (),
            _DESCRIPTION: description,
        }
        placed: C = PlacedType(cls.__name__, (cls,), namespace)
        return placed

    return describe


def remote_function(
    dispatch: Dispatch = "slice",
    execute: Execute = "all",
    collect: Collect = "none",
    sync: bool = False,
    lazy_collect: bool | None = None,
    timeout: float | None = None,
) -> Callable[[F], F]:
    """Describes how a call of the decorated method reaches workers and how their results come back; see :class:`RemoteMethod`."""
    _check_rule("remote_function", "execute", execute, EXECUTE_RULES)
    if not callable(dispatch):
        _check_rule("remote_function", "dispatch", dispatch, DISPATCH_RULES)
    if not callable(collect):
        _check_rule("remote_function", "collect", collect, COLLECT_RULES)
    method = RemoteMethod(dispatch=dispatch, execute=execute, collect=collect, sync=sync, lazy_collect=lazy_collect, timeout=timeout)

    def describe(function: F) -> F:
        function.__dict__[_DESCRIPTION] = method
        return function

    return describe


def remote_methods(cls: type[Any]) -> dict[str, RemoteMethod]:
    """The described methods of ``cls`` by name. One that overrides a described method keeps its description unless it has its own."""
    methods: dict[str, RemoteMethod] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if inspect.isfunction(value) and _DESCRIPTION in value.__dict__:
                methods[name] = value.__dict__[_DESCRIPTION]
    return methods


def _place(cls: type[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Placement:
    own = _constructor_signature(cls)
    mesh_parameter = next((name for name, p in own.parameters.items() if _takes_mesh(p)), None)
    wishes = {name: kwargs.get(name) for name in _PLACEMENT_PARAMETERS}
    for name in ("remote_group", "instance_id"):
        if not isinstance(wishes[name], str | None):
            raise InvalidArgument(f"{cls.__name__}({name}=...) is a name, got {wishes[name]!r}")
    arguments = {name: value for name, value in kwargs.items() if name not in _PLACEMENT_PARAMETERS or name in own.parameters}
    bound = _bind(cls, own, args, arguments)
    mesh = wishes["device_mesh"]
    if mesh_parameter is not None:
        given = bound.arguments.pop(mesh_parameter, None)
        mesh = mesh if given is None else given
    if not isinstance(mesh, DeviceMesh | None):
        raise InvalidArgument(f"{cls.__name__}({mesh_parameter or 'device_mesh'}=...) is a DeviceMesh, got {mesh!r}")
    return Placement(
        cls=cls,
        arguments=bound,
        description=getattr(cls, _DESCRIPTION),
        group=wishes["remote_group"],
        instance_id=wishes["instance_id"],
        mesh=mesh,
        mesh_parameter=mesh_parameter,
    )


def _bind(cls: type[Any], signature: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    parameters = signature.parameters
    if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        known = [name for name, p in parameters.items() if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
        for name in kwargs:
            if name not in known:
                suggestion = did_you_mean(name, [*known, *_PLACEMENT_PARAMETERS])
                raise InvalidArgument(f"{cls.__name__} does not take the argument {name!r}.{suggestion}")
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError as error:
        raise InvalidArgument(f"{cls.__name__}: {error}") from None
    for name, p in parameters.items():
        needed = p.default is Parameter.empty and p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        if needed and name not in bound.arguments and not _takes_mesh(p):
            raise InvalidArgument(f"{cls.__name__} needs the argument {name!r}")
    return bound


def _constructor_signature(cls: type[Any]) -> Signature:
    """The signature of the constructor without ``self``."""
    constructor = constructor_of(cls)
    if constructor is None:
        return Signature()
    signature = inspect.signature(constructor)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _takes_mesh(parameter: Parameter) -> bool:
    """Whether the annotation names ``DeviceMesh``. Its text is enough: what it names may be imported for type checkers only."""
    if parameter.annotation is Parameter.empty:
        return False
    return re.search(r"\bDeviceMesh\b", inspect.formatannotation(parameter.annotation)) is not None


def _check_rule(decorator: str, name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArgument(f"{decorator}({name}={value!r}): no such rule.{did_you_mean(str(value), known)}")
