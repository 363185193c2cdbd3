"""The registry: resolves names to components, imports what was resolved, and says why.

Listing and resolving import no component: names map to import strings until somebody asks for ``Resolved.cls``.
"""

from __future__ import annotations

import threading
import types
import warnings
from collections.abc import Mapping
from typing import Any

import pluggy

from twinkle.core.component_index import Component, ComponentIndex
from twinkle.core.contract_check import check_contract
from twinkle.core.errors import HubUnavailable, InvalidArgument, InvalidConfig, UnknownComponent
from twinkle.core.import_string import import_attribute
from twinkle.core.kinds import KindSpec
from twinkle.core.plugin_loading import BrokenPlugin, LoadedPlugin, normalized
from twinkle.core.plugin_set import PluginSet
from twinkle.core.refs import FileRef, HubRef, NameRef, PyRef, parse
from twinkle.core.resolved import Resolved
from twinkle.core.settings import Settings
from twinkle.core.suggestion import did_you_mean


class Registry:
    """Names to components. Thread-safe; every test makes a fresh one. Plugins load at the first question."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = Settings.load() if settings is None else settings
        self._lock = threading.RLock()
        self._plugins: PluginSet | None = None
        self._loading_plugins = False
        self._indexes: dict[str, ComponentIndex] = {}
        self._resolved: dict[tuple[str, str], Resolved] = {}
        self._loaded: dict[tuple[str | None, ...], Any] = {}
        self._warned: set[tuple[str, str]] = set()
        self._frozen = False

    # ---- what there is

    @property
    def kinds(self) -> Mapping[str, KindSpec]:
        """Every kind, ours and those that plugins bring."""
        return self._plugin_set().kinds

    @property
    def plugins(self) -> tuple[LoadedPlugin, ...]:
        """The plugins that are registered, built-in ones first."""
        return tuple(self._plugin_set().plugins.values())

    @property
    def broken_plugins(self) -> tuple[BrokenPlugin, ...]:
        """Plugins, single hooks and single entries of them that failed and are left out.

        A hook is called when its kind is first looked up, an entry is read when it is asked for; :meth:`components` reads all of a kind.
        """
        return self._plugin_set().broken

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks, to call."""
        return self._plugin_set().hook

    def components(self, kind: str) -> tuple[Component, ...]:
        """The announced components of ``kind``, each once, in order of their names. Checks all, imports none."""
        spec = self._spec(kind)
        with self._lock:
            return self._index(spec).components

    # ---- finding

    def resolve(self, kind: str, ref: object) -> Resolved:
        """What ``ref`` names: a name, a hub id, a folder, or an object that is taken as it is.

        Raises:
            InvalidRef: ``ref`` is a string outside the grammar.
            UnknownComponent: nothing has this name; a suggestion follows.
            AmbiguousComponent: several packages have it.
            HubUnavailable: it lies on a hub and nothing here can fetch components.
        """
        if isinstance(ref, str):
            known = self._resolved.get((kind, ref))
            return known if known is not None else self._resolve_text(kind, ref)
        return self._resolve_object(kind, ref)

    def _resolve_text(self, kind: str, text: str) -> Resolved:
        spec = self._spec(kind)
        ref = parse(text)
        match ref:
            case NameRef():
                with self._lock:  # against a plugin that is registered meanwhile: the answer would be kept after its index is gone
                    resolved = self._resolved[kind, text] = self._resolve_name(spec, ref, text)
                return resolved
            case PyRef(module, attribute):
                trace = (f"{text!r} names an importable object",)
                entry = f"{module}:{attribute}"
                return Resolved(kind=kind, name=attribute, entry=entry, origin="py", ref=text, trust="local", trace=trace, loader=self.load)
            case HubRef() | FileRef():
                source = self.hook.twinkle_component_source(ref=ref)
                if source is None:
                    raise HubUnavailable(
                        f"{text!r}: hub support comes with the hub loader, and no installed plugin loads components from "
                        f"{ref.scheme + '://' if isinstance(ref, HubRef) else 'folders'}"
                    )
                found: Resolved = source.resolve(kind, ref)
                return found.bound_to(self.load)

    def _resolve_name(self, spec: KindSpec, ref: NameRef, text: str) -> Resolved:
        if ref.kind not in (None, spec.name):
            hint = "" if ref.kind in self.kinds else f" There is no kind {ref.kind!r}; an id on a hub is written 'ms://owner/repo'."
            raise UnknownComponent(f"{text!r} names a {ref.kind}, but a {spec.name} is asked for here.{hint}")
        choice = self._index(spec).choose(ref, self.settings.overrides)
        if choice is None:
            raise UnknownComponent(self._missing(spec, ref))
        component = choice.component
        plugin = component.plugin
        if choice.shadowed and (spec.name, component.name) not in self._warned:
            self._warned.add((spec.name, component.name))
            others = " or ".join(repr(c.qualified) for c in choice.shadowed)
            message = f"{spec.name} {ref.name!r} is built in and installed: the built-in one is used; write {others} for the other"
            warnings.warn(message, stacklevel=5)  # the caller of twinkle.resolve
        return Resolved(
            kind=spec.name,
            name=component.name,
            entry=component.entry,
            origin="builtin" if plugin.dist is None else "dist",
            ref=text,
            dist=plugin.dist,
            version=plugin.version,
            trust="builtin" if plugin.dist is None else "installed",
            trace=(*choice.reasons, f"plugin {plugin.name} gives {component.entry}"),
            loader=self.load,
        )

    def _resolve_object(self, kind: str, obj: object) -> Resolved:
        spec = self._spec(kind)
        if isinstance(obj, Resolved):
            if obj.kind != kind:
                raise InvalidArgument(f"{obj.ref!r} was resolved as a {obj.kind}, but a {kind} is asked for here")
            return self.bind(obj)
        named = obj if isinstance(obj, type | types.FunctionType) else type(obj)
        entry = f"{named.__module__}:{named.__qualname__}"
        check_contract(spec, obj, entry if named is obj else f"an instance of {entry}")
        trace = ("an object was given: it is used as it is",)
        return Resolved(kind=kind, name=named.__name__, entry=entry, origin="object", ref=entry, trust="object", trace=trace, given=obj)

    def _missing(self, spec: KindSpec, ref: NameRef) -> str:
        """Why ``ref`` was not found, and every cure that can be thought of."""
        message = f"no {spec.name} is named {str(ref)!r}."
        packages = {name for p in self.plugins for name in (p.package, p.top_module)}
        if ref.package is not None and normalized(ref.package) not in map(normalized, packages):
            known = ", ".join(sorted({p.package for p in self.plugins}))
            message += f" No plugin comes from a package {ref.package!r}; there are: {known}."
            message += f" A repository on a hub is written 'ms://{ref.package}/{ref.name}'."
        else:
            message += did_you_mean(ref.name, self._index(spec).names)
        elsewhere = sorted(kind for kind, other in self.kinds.items() if kind != spec.name and self._index(other).named(ref.name))
        if elsewhere:
            message += f" There is a {' and a '.join(elsewhere)} of that name."
        for broken in self.broken_plugins:
            message += f" It might be provided by the broken plugin {broken}."
        return message

    # ---- importing

    def load(self, resolved: Resolved) -> Any:
        """The component behind ``resolved``, imported on first use and then kept.

        Raises:
            BrokenComponent: the import failed; the cause is chained.
            ContractViolation: what was imported is no component of its kind.
        """
        if resolved.origin == "object":
            return resolved.given
        key = (resolved.kind, resolved.name, resolved.entry, resolved.dist, resolved.repo, resolved.h1)
        loaded = self._loaded.get(key)
        if loaded is not None:
            return loaded
        # No lock is held while importing: a module that is being imported elsewhere may itself be asking this registry.
        imported = self._import(resolved)
        check_contract(self._spec(resolved.kind), imported, f"{resolved.kind} {resolved.ref!r}")
        with self._lock:
            is_first = key not in self._loaded
            loaded = self._loaded.setdefault(key, imported)
        if is_first:
            self.tell("twinkle_component_loaded", resolved=resolved, cls=loaded)
        return loaded

    def bind(self, resolved: Resolved) -> Resolved:
        """``resolved`` from another process, able to load here."""
        return resolved.bound_to(self.load)

    def _import(self, resolved: Resolved) -> Any:
        if resolved.origin in ("hub", "file"):
            source = self.hook.twinkle_component_source(ref=parse(resolved.ref))
            if source is None:
                raise HubUnavailable(f"{resolved.ref!r}: the plugin that resolved it is gone from this process")
            return source.load(resolved)
        spec = self._spec(resolved.kind)
        with self._lock:
            namesakes = self._index(spec).named(resolved.name)
        for component in namesakes:
            same = (component.name, component.entry, component.plugin.dist) == (resolved.name, resolved.entry, resolved.dist)
            if same and not isinstance(component.target, str):
                return component.target
        where = f"{resolved.kind} {resolved.ref!r}" + (f" of {resolved.dist} {resolved.version or ''}".rstrip() if resolved.dist else "")
        return import_attribute(resolved.entry, where)

    # ---- plugins

    def tell(self, event: str, /, **arguments: object) -> None:
        """Tells every plugin that ``event`` (``twinkle_step_ended`` ...) happened; one that raises is reported, the others are told."""
        self._plugin_set().tell(event, arguments)

    def register(self, plugin: object, name: str) -> None:
        """Adds a plugin of this process: an object or module whose functions bear ``hookimpl``; ``name`` stands for its package.

        Raises:
            InvalidConfig: the registry is frozen, or the name is taken.
            BrokenComponent: its hooks are wrong; it was not added.
        """
        plugins = self._plugin_set()
        with self._lock:
            if self._frozen:
                raise InvalidConfig(f"plugin {name!r} came too late: the registry of a running server is frozen")
            plugins.add(LoadedPlugin(name=name, dist=name, version=None, target=plugin))
            self._indexes = {}
            self._resolved = {}

    def unregister(self, name: str) -> None:
        """Takes back what :meth:`register` added under ``name``.

        Raises:
            InvalidConfig: there is no such plugin.
        """
        plugins = self._plugin_set()
        with self._lock:
            plugins.remove(name)
            self._indexes = {}
            self._resolved = {}

    def freeze(self) -> None:
        """No plugin can be added from here on."""
        with self._lock:
            self._plugin_set()
            self._frozen = True

    def _plugin_set(self) -> PluginSet:
        plugins = self._plugins
        if plugins is not None:
            return plugins
        with self._lock:
            if self._plugins is None:
                if self._loading_plugins:
                    raise InvalidConfig("a plugin asked for components while it was being imported: ask inside a function instead")
                self._loading_plugins = True
                try:
                    self._plugins = PluginSet(self.settings)
                finally:
                    self._loading_plugins = False
            return self._plugins

    def _spec(self, kind: str) -> KindSpec:
        spec = self.kinds.get(kind)
        if spec is None:
            message = f"no kind is named {kind!r}.{did_you_mean(kind, self.kinds)}"
            for broken in self.broken_plugins:
                message += f" It might be provided by the broken plugin {broken}."
            raise UnknownComponent(message)
        return spec

    def _index(self, spec: KindSpec) -> ComponentIndex:
        index = self._indexes.get(spec.name)
        if index is not None:
            return index
        with self._lock:
            if spec.name not in self._indexes:
                plugins = self._plugin_set()
                index = ComponentIndex(spec.name, report=lambda plugin, error: plugins.report(plugin, spec.hook, error))
                for plugin, announced in plugins.ask(spec.hook):
                    try:
                        index.add(plugin, announced)
                    except InvalidConfig as error:
                        plugins.report(plugin, spec.hook, error)
                if self.settings.plugins_strict:
                    _ = index.components  # an entry that nobody asks for raises as well
                self._indexes[spec.name] = index
            return self._indexes[spec.name]
