"""``kernelize``: kernels in place of a model's layers and functions, through the journal of patches, so that they can be undone."""

from __future__ import annotations

import functools
import types
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from twinkle.core.components import build_resolved, resolve
from twinkle.core.contracts.kernel import LayerKernel
from twinkle.core.errors import InvalidArgument, UnsuitableLayer
from twinkle.core.kernel_place import Layers, LayerTree, ModuleFunction, check_signature, find_place, layer_names
from twinkle.core.layer_class import LayerClassKernel, class_attribute, is_layer_class
from twinkle.core.logger import get_logger
from twinkle.core.patch_ledger import PatchHandle, PatchIdentity, PatchLedger
from twinkle.core.patching import Patchable, stale_copies
from twinkle.core.runtime.context import current
from twinkle.core.suggestion import did_you_mean

Mode = Literal["training", "inference"]
KernelMapping = Mapping[Any, Any]

_DEVICES = frozenset({"cpu", "cuda", "mps", "npu", "xpu"})


class KernelHandle(PatchHandle):
    """Kernels that are in place: revert them, or use it as a context manager."""

    def __init__(self, identity: PatchIdentity, target: Any, ledger: PatchLedger) -> None:
        super().__init__(identity, target, ledger)
        self.replaced: dict[str, int] = {}
        """Key of the mapping -> how many layers, or 1 for a function."""
        self.left: dict[str, str] = {}
        """Key -> why some or all of its layers were left as they were."""
        self.provenance: dict[str, dict[str, str]] = {}
        """Key -> where its kernel comes from."""

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} x{count}" for name, count in self.replaced.items())
        return f"<kernels for {counts}: {'applied' if self.is_applied else 'reverted'}>"


@runtime_checkable
class Kernelizable(Patchable, Protocol):
    """A model that knows what of it has layers."""

    @abstractmethod
    def kernelize(self, mapping: KernelMapping | None = None, mode: Mode | None = None) -> KernelHandle:
        """Puts kernels into the unwrapped model."""


def kernelize(model: Any, mapping: KernelMapping | None = None, *, mode: Mode | None = None) -> KernelHandle:
    """Puts kernels in place of layers and functions of ``model``, all of them or, where one does not fit, none.

    Args:
        model: a :class:`~twinkle.model.TransformersModel` or any torch module.
        mapping: what -> by what. *What* is the class of layers, its name (``"Qwen3RMSNorm"``), or the dotted path of a function
            (``"transformers.models.qwen3.modeling_qwen3.apply_rotary_pos_emb"``), which is then replaced for the whole process. *By what*
            is the name of a kernel, a hub id (``"hf://owner/repo#Layer"``), a layer class that takes the place of the layers' class, a
            function ``forward(layer, *inputs)``, or one of these for each type of device: ``{"cuda": ..., "cpu": ...}``. Without a
            mapping, the built-in kernels that are known to fit.
        mode: whether gradients are needed; without, whether a weight asks for one.

    Returns:
        A handle that undoes it: ``with twinkle.kernelize(model):``, or ``.revert()``; ``.replaced`` says what was.

    Raises:
        InvalidArgument: the model has no such layer, or the replacement takes other arguments or has no gradient.
        UnsuitableLayer: a layer does not compute what the kernel does.
        LookupError: no kernel has this name.
        UntrustedComponent: a hub id that nobody approved.
    """
    if isinstance(model, Kernelizable):
        return model.kernelize(mapping, mode=mode)
    if not isinstance(model, LayerTree):
        raise InvalidArgument(f"kernelize: expected a model, got {type(model).__name__}")
    if mode not in (None, "training", "inference"):
        raise InvalidArgument(f"kernelize: mode: expected 'training' or 'inference', got {mode!r}")
    is_training = mode == "training" or (mode is None and any(p.requires_grad for p in model.parameters()))
    is_bundle = mapping is None
    if mapping is None:
        mapping = _built_in_for(model)
    if not isinstance(mapping, Mapping) or not mapping:
        raise InvalidArgument(f"kernelize: mapping: expected what -> by what, got {mapping!r}")
    plan = [_Replacement.of(model, key, value, is_training, is_bundle) for key, value in mapping.items()]
    _check_distinct(plan)

    def run(handle: KernelHandle) -> None:
        for replacement in plan:
            replacement.apply(handle)
        if not handle.replaced:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in handle.left.items())
            raise InvalidArgument(f"kernelize: nothing was replaced: {reasons}")
        handle.limits = tuple(_limits(handle, plan))
        counts = ", ".join(f"{count} {name} by {handle.provenance[name]['ref']}" for name, count in handle.replaced.items())
        get_logger().info(f"kernelize: {counts}")

    identity = PatchIdentity(
        ref=f"kernels for {', '.join(r.name for r in plan)}",
        entry=f"{__name__}:kernelize",
        init=repr((mode, [(r.name, sorted(r.provenance.items())) for r in plan])),
        instance=[r.given for r in plan],
    )
    return current().patches.apply_as(KernelHandle, identity, model, run)


@dataclass(frozen=True, kw_only=True)
class _Replacement:
    """One line of the mapping, looked up and checked."""

    name: str
    place: Layers | ModuleFunction
    kernel: Any
    """A component, a layer class or a function; None where there is none for the device."""
    given: Any = None
    """The object that the user gave, where it has no name; the device, where there is nothing for it."""
    provenance: dict[str, str] = field(default_factory=dict)
    is_bundle: bool
    is_training: bool

    @classmethod
    def of(cls, model: LayerTree, key: Any, value: Any, is_training: bool, is_bundle: bool) -> _Replacement:
        place = find_place(model, key)
        name = key if isinstance(key, str) else place.name
        device = next((p.device.type for p in model.parameters()), "cpu")
        chosen = _for_device(name, value, device)
        if chosen is None:
            return cls(name=name, place=place, kernel=None, given=device, is_bundle=is_bundle, is_training=is_training)
        kernel, provenance, given = _resolved(name, chosen)
        made = cls(name=name, place=place, kernel=kernel, given=given, provenance=provenance, is_bundle=is_bundle, is_training=is_training)
        made._check_gradient()
        return made

    def apply(self, handle: KernelHandle) -> None:
        if self.kernel is None:
            handle.left[self.name] = f"the mapping has nothing for {self.given}"
            return
        if isinstance(self.place, ModuleFunction):
            self._replace_function(handle, self.place)
            count = 1
        else:
            classes: dict[type, type] = {}
            count = sum([self._replace_layer(handle, layer, classes) for layer in self.place.found])
        if count:
            handle.replaced[self.name] = count
            handle.provenance[self.name] = self.provenance

    def _replace_function(self, handle: KernelHandle, place: ModuleFunction) -> None:
        if isinstance(self.kernel, type | LayerClassKernel):
            raise InvalidArgument(f"kernelize: {self.name} is a function: expected a function or a kernel for it, got a layer class")
        check_signature(f"kernelize: {self.name}", self.kernel, place.parameters)
        handle.journal.setattr(place.module, place.name, self.kernel)

    def _replace_layer(self, handle: KernelHandle, layer: Any, classes: dict[type, type]) -> bool:
        """Whether ``layer`` was; not where it is none of ours to replace. ``classes`` has the swapped class of each class so far."""
        if self.is_bundle and "forward" in vars(layer):
            handle.left[self.name] = "a layer has a forward pass of its own already, by a patch, a hook or other kernels"
            return False
        layer_class = self.kernel if isinstance(self.kernel, type) else None
        if isinstance(self.kernel, LayerClassKernel):
            layer_class = self.kernel.layer_class
        if layer_class is not None:
            before = type(layer)
            if before not in classes:
                classes[before] = _swapped(self.name, layer_class, before)
            handle.journal.setattr(layer, "__class__", classes[before])
            if "forward" in vars(layer):  # it would hide the one of the class
                swapped: Any = classes[before]
                handle.journal.setattr(layer, "forward", types.MethodType(swapped.forward, layer))
            return True
        try:
            forward = self._forward_for(layer)
        except UnsuitableLayer as error:
            if not self.is_bundle:
                raise
            handle.left[self.name] = str(error)
            return False
        check_signature(f"kernelize: {self.name}", forward, type(layer).forward)
        # Not a bound method: pickle looks that up again by the function's name, which the layer does not have.
        handle.journal.setattr(layer, "forward", functools.partial(forward, layer))
        return True

    def _forward_for(self, layer: Any) -> Any:
        if isinstance(self.kernel, LayerKernel):
            self._check_class(layer)
            forward = self.kernel.layer_forward(layer)
            if not callable(forward):
                raise InvalidArgument(
                    f"kernelize: {self.name}: expected 'layer_forward' of {self.provenance['ref']} to return a function "
                    f"forward(layer, *inputs), it returned {forward!r}"
                )
            return forward
        if class_attribute(type(self.kernel), "reference") is not None:
            raise UnsuitableLayer(
                f"kernelize: {self.name}: the kernel {self.provenance['ref']} replaces functions, it has no 'layer_forward': map the "
                "function that the layer calls, or give a function forward(layer, *inputs)"
            )
        return self.kernel

    def _check_class(self, layer: Any) -> None:
        """A built-in kernel tries every layer on numbers, whatever its class; of others it is only known what they say."""
        layers, found = self.kernel.layers, type(layer).__name__
        if layers and found not in layers and not _is_built_in(self.provenance["entry"]):
            raise UnsuitableLayer(
                f"kernelize: {self.name}: the kernel {self.provenance['ref']} is for {', '.join(sorted(layers))} (its 'layers'), got a "
                f"{found}: map one of those, or, where it computes the same, add its class to 'layers'"
            )

    def _check_gradient(self) -> None:
        holder = self.kernel.layer_class if isinstance(self.kernel, LayerClassKernel) else self.kernel
        has_backward = class_attribute(holder if isinstance(holder, type) else type(holder), "has_backward")
        if self.is_training and has_backward is False:
            raise InvalidArgument(
                f"kernelize: {self.name}: {self.provenance['ref']} has no gradient (has_backward = False) and the model trains: take "
                "another kernel, or say mode='inference'"
            )


def _check_distinct(plan: list[_Replacement]) -> None:
    """Raises :class:`InvalidArgument` where two keys mean the same layers or function: the one above would hide the other."""
    names: dict[tuple[int, str], str] = {}
    for replacement in plan:
        place = replacement.place
        spots = [(id(layer), "") for layer in place.found] if isinstance(place, Layers) else [(id(place.module), place.name)]
        for spot in spots:
            if spot in names:
                raise InvalidArgument(
                    f"kernelize: mapping: expected each layer and function once, got it as {names[spot]!r} and as {replacement.name!r}: "
                    "leave one out"
                )
        names |= dict.fromkeys(spots, replacement.name)


def _is_built_in(entry: str) -> bool:
    return any(c.entry == entry for c in current().registry.components("kernel") if c.plugin.dist is None)


def _built_in_for(model: LayerTree) -> dict[str, str]:
    """The built-in kernels that are known to fit layers of ``model``."""
    names = layer_names(model)
    known: dict[str, str] = {}
    for component in current().registry.components("kernel"):
        if component.plugin.dist is None:
            kernel = build_resolved(resolve("kernel", component.name), {})
            if isinstance(kernel, LayerKernel):
                known |= dict.fromkeys(kernel.layers, component.name)
    found = {name: known[name] for name in sorted(names & known.keys())}
    if not found:
        raise InvalidArgument(
            f"kernelize: no built-in kernel is for a layer of this model, which has {', '.join(sorted(names))}: say what to replace by "
            "what, as in kernelize(model, {'Qwen3RMSNorm': 'rms_norm'})"
        )
    return found


def _for_device(name: str, value: Any, device: str) -> Any:
    """``value``, or what it has for ``device``; None where that is nothing."""
    if not isinstance(value, Mapping):
        return value
    unknown = [key for key in value if key not in _DEVICES]
    if unknown or not value:
        hint = did_you_mean(str(unknown[0]), _DEVICES) if unknown else ""
        raise InvalidArgument(f"kernelize: {name}: expected types of device -> kernels, got {dict(value)!r}.{hint}")
    return value.get(device)


def _resolved(name: str, value: Any) -> tuple[Any, dict[str, str], Any]:
    """The kernel, its provenance, and ``value`` itself where it is no name."""
    if isinstance(value, str):
        resolved = resolve("kernel", value)
        return build_resolved(resolved, {}), resolved.provenance(), None
    if isinstance(value, type) and not is_layer_class(value):
        resolved = resolve("kernel", value)
        return build_resolved(resolved, {}), resolved.provenance(), value
    if not callable(value):
        raise InvalidArgument(f"kernelize: {name}: expected a kernel's name or hub id, a layer class or a function, got {value!r}")
    named = value if isinstance(value, type | types.FunctionType) else type(value)
    entry = f"{named.__module__}:{named.__qualname__}"
    return value, {"kind": "kernel", "name": named.__name__, "entry": entry, "origin": "object", "ref": entry}, value


def _swapped(name: str, layer_class: type, before: type) -> type:
    """The class that a layer of the class ``before`` gets: ``layer_class``, over what it does not define itself.

    Raises:
        InvalidArgument: it has no ``forward`` of its own, or one that takes other arguments, or an ``__init__``, which would never run.
    """
    new: Any = layer_class
    old: Any = before
    own = [base for base in layer_class.__mro__ if base not in before.__mro__]
    if any("__init__" in vars(base) for base in own):
        raise InvalidArgument(
            f"kernelize: {name}: {layer_class.__qualname__} has an __init__, which would not run for layers that exist: it has to do with "
            f"the attributes of {before.__qualname__}"
        )
    if own and not any("forward" in vars(base) for base in own):
        defined = sorted({attribute for base in own for attribute in vars(base) if not attribute.startswith("_")})
        raise InvalidArgument(
            f"kernelize: {name}: expected a layer class with a 'forward' of its own, {layer_class.__qualname__} would change nothing: it "
            f"defines {', '.join(defined) or 'nothing'}"
        )
    check_signature(f"kernelize: {name}", new.forward, old.forward)
    if issubclass(layer_class, before):
        return layer_class
    try:
        # Whoever looks for the layer by its class or its name still finds it.
        return type(before.__name__, (layer_class, before), {"__module__": layer_class.__module__, "__doc__": layer_class.__doc__})
    except TypeError as error:
        raise InvalidArgument(
            f"kernelize: {name}: {layer_class.__qualname__} cannot stand before {before.__qualname__} in one class: write a class "
            "of its own, with the forward pass alone"
        ) from error


def _limits(handle: KernelHandle, plan: list[_Replacement]) -> Iterator[str]:
    functions = [r.name for r in plan if isinstance(r.place, ModuleFunction) and r.name in handle.replaced]
    for name in functions:
        yield f"{name} is replaced for every model of this process"
    if functions:
        yield from stale_copies(handle)
