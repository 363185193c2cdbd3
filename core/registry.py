"""The registry: collects the names that plugins announce, resolves them, imports what was resolved, and says why.

Listing and resolving import no component: names map to import strings until somebody asks for ``Resolved.cls``.
"""

from __future__ import annotations

import importlib
import threading
import types
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy

from twinkle.core import hookspecs
from twinkle.core.contract_check import check_contract
from twinkle.core.errors import AmbiguousComponent, BrokenComponent, HubUnavailable, InvalidArgument, InvalidConfig, UnknownComponent
from twinkle.core.kinds import KINDS, KindSpec
from twinkle.core.plugin_loading import BrokenPlugin, LoadedPlugin, load_builtin_plugins, load_installed_plugins
from twinkle.core.refs import FileRef, HubRef, NameRef, PyRef, parse
from twinkle.core.resolved import Resolved
from twinkle.core.settings import Settings
from twinkle.core.suggestion import did_you_mean


@dataclass(frozen=True, slots=True)
class Component:
    """One announced name of one plugin: a row of ``twinkle components list``."""

    kind: str
    name: str
    target: type[Any] | str
    """The class, or ``module:Class``."""
    plugin: LoadedPlugin

    @property
    def entry(self) -> str:
        """``module:Class``."""
        return self.target if isinstance(self.target, str) else f"{self.target.__module__}:{self.target.__qualname__}"

    @property
    def class_name(self) -> str:
        """What stands after the colon: the second name that resolves to it."""
        return self.entry.rpartition(":")[2]


class Registry:
    """Names to components. Thread-safe; every test makes a fresh one."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = Settings.load() if settings is None else settings
        self._lock = threading.RLock()
        self._manager: pluggy.PluginManager | None = None
        self._plugins: dict[str, LoadedPlugin] = {}
        self._broken: list[BrokenPlugin] = []
        self._kinds: dict[str, KindSpec] = {}
        self._components: dict[str, dict[str, tuple[Component, ...]]] = {}
        self._resolved: dict[tuple[str, str], Resolved] = {}
        self._loaded: dict[tuple[str, str, str | None, str | None], Any] = {}
        self._frozen = False

    # ---- what there is

    @property
    def kinds(self) -> Mapping[str, KindSpec]:
        """Every kind, ours and those that plugins bring."""
        self._ensure_plugins()
        return self._kinds

    @property
    def plugins(self) -> tuple[LoadedPlugin, ...]:
        """The plugins that are registered, built-in ones first."""
        self._ensure_plugins()
        return tuple(self._plugins.values())

    @property
    def broken_plugins(self) -> tuple[BrokenPlugin, ...]:
        """Plugins that could not be loaded, or whose hooks failed; they are left out and everything else works."""
        self._ensure_plugins()
        return tuple(self._broken)

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks, to call."""
        return self._ensure_plugins().hook

    def components(self, kind: str) -> tuple[Component, ...]:
        """The announced components of ``kind``, each once, in order of their names. Imports none of them."""
        found = {c for group in self._names(self._spec(kind).name).values() for c in group}
        return tuple(sorted(found, key=lambda c: (c.name, c.plugin.name)))

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
                resolved = self._resolve_name(spec, ref, text)
                with self._lock:
                    self._resolved[kind, text] = resolved
                return resolved
            case PyRef(module, attribute):
                entry = f"{module}:{attribute}"
                trace = (f"{text!r} names an importable object",)
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
            raise UnknownComponent(f"{text!r} names a {ref.kind}, but a {spec.name} is asked for here")
        names = self._names(spec.name)
        candidates = names.get(ref.name, ())
        if ref.package is not None:
            mine = [c for c in candidates if c.plugin.has_package(ref.package)]
            if not mine:
                raise UnknownComponent(self._missing(spec, ref, names))
            return self._found(mine[0], text, f"{text!r} names package {ref.package!r}")
        override = self.settings.overrides.get(f"{spec.name}:{ref.name}")
        if override is not None:
            inner = self._resolve_name(spec, _override_ref(spec, ref.name, override), override)
            trace = (f"[tool.twinkle.override] puts {override!r} before {spec.name}:{ref.name}", *inner.trace)
            return Resolved(**{**inner.__dict__, "ref": text, "trace": trace})
        if not candidates:
            raise UnknownComponent(self._missing(spec, ref, names))
        builtin = [c for c in candidates if c.plugin.dist is None]
        installed = [c for c in candidates if c.plugin.dist is not None]
        if builtin:
            if installed:
                others = " or ".join(f"{c.plugin.package}/{c.name}" for c in installed)
                message = f"{spec.name} {ref.name!r} is built in and installed: the built-in one is used; write {others} for the other"
                warnings.warn(message, stacklevel=5)
            return self._found(builtin[0], text, f"{ref.name!r} is built in")
        if len(installed) > 1:
            others = ", ".join(f"{c.plugin.package}/{c.name}" for c in installed)
            raise AmbiguousComponent(f"{spec.name} {ref.name!r} is announced by several packages; write one of: {others}")
        return self._found(installed[0], text, f"{ref.name!r} is announced by {installed[0].plugin.package} alone")

    def _found(self, component: Component, text: str, why: str) -> Resolved:
        plugin = component.plugin
        return Resolved(
            kind=component.kind,
            name=component.name,
            entry=component.entry,
            origin="builtin" if plugin.dist is None else "dist",
            ref=text,
            dist=plugin.dist,
            version=plugin.version,
            trust="builtin" if plugin.dist is None else "installed",
            trace=(why, f"plugin {plugin.name} gives {component.entry}"),
            loader=self.load,
        )

    def _resolve_object(self, kind: str, obj: object) -> Resolved:
        spec = self._spec(kind)
        if isinstance(obj, Resolved):
            if obj.kind != kind:
                raise InvalidArgument(f"{obj.ref!r} was resolved as a {obj.kind}, but a {kind} is asked for here")
            return obj.bound_to(self.load)
        check_contract(spec, obj, repr(obj))
        named = obj if isinstance(obj, type | types.FunctionType) else type(obj)
        entry = f"{named.__module__}:{named.__qualname__}"
        return Resolved(
            kind=kind,
            name=named.__name__,
            entry=entry,
            origin="object",
            ref=entry,
            trust="object",
            trace=("an object was given: it is used as it is",),
            loader=lambda _: obj,
        )

    def _missing(self, spec: KindSpec, ref: NameRef, names: Mapping[str, object]) -> str:
        message = f"no {spec.name} is named {str(ref)!r}.{did_you_mean(ref.name, names)}"
        elsewhere = sorted(k for k, index in self._components.items() if k != spec.name and ref.name in index)
        if elsewhere:
            message += f" There is a {' and a '.join(elsewhere)} of that name."
        for broken in self._broken:
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
            return resolved.cls
        key = (resolved.kind, resolved.entry, resolved.repo, resolved.h1)
        loaded = self._loaded.get(key)
        if loaded is not None:
            return loaded
        with self._lock:
            loaded = self._loaded.get(key)
            if loaded is None:
                loaded = self._import(resolved)
                check_contract(self._spec(resolved.kind), loaded, f"{resolved.kind} {resolved.ref!r}")
                self.hook.twinkle_component_loaded(resolved=resolved, cls=loaded)
                self._loaded[key] = loaded
        return loaded

    def bind(self, resolved: Resolved) -> Resolved:
        """``resolved`` from another process, able to load here."""
        return resolved.bound_to(self.load)

    def _import(self, resolved: Resolved) -> Any:
        if resolved.origin in ("hub", "file"):
            ref = parse(resolved.ref)
            source = self.hook.twinkle_component_source(ref=ref)
            if source is None:
                raise HubUnavailable(f"{resolved.ref!r}: the plugin that resolved it is gone from this process")
            return source.load(resolved)
        for component in self._names(resolved.kind).get(resolved.name, ()):
            if component.entry == resolved.entry and not isinstance(component.target, str):
                return component.target
        module_name, _, attribute = resolved.entry.partition(":")
        where = f"{resolved.kind} {resolved.ref!r}" + (f" of {resolved.dist} {resolved.version}" if resolved.dist else "")
        try:
            target: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                target = getattr(target, part)
        except Exception as error:
            raise BrokenComponent(f"{where} could not be imported from {resolved.entry}: {type(error).__name__}: {error}") from error
        return target

    # ---- plugins

    def register(self, plugin: object, name: str) -> None:
        """Adds a plugin of this process: an object or module whose functions bear ``hookimpl``.

        Raises:
            InvalidConfig: the registry is frozen, or the name is taken.
        """
        manager = self._ensure_plugins()
        with self._lock:
            if self._frozen:
                raise InvalidConfig(f"plugin {name!r} came too late: the registry of a running server is frozen")
            if manager.has_plugin(name):
                raise InvalidConfig(f"a plugin named {name!r} is registered already")
            self._add(LoadedPlugin(name=name, dist=name, version=None, target=plugin))
            self._collect_kinds([name])
            self._components.clear()
            self._resolved.clear()

    def freeze(self) -> None:
        """No plugin can be added from here on."""
        self._ensure_plugins()
        self._frozen = True

    def _ensure_plugins(self) -> pluggy.PluginManager:
        manager = self._manager
        if manager is not None:
            return manager
        with self._lock:
            if self._manager is None:
                manager = pluggy.PluginManager(hookspecs.PROJECT)
                manager.add_hookspecs(hookspecs)
                self._manager = manager
                self._kinds = {spec.name: spec for spec in KINDS}
                for plugin in load_builtin_plugins():
                    self._add(plugin)
                loaded, broken = load_installed_plugins(self.settings)
                self._broken.extend(broken)
                for plugin in loaded:
                    self._add_isolated(plugin)
                self._collect_kinds([p.name for p in self._plugins.values()])
            return self._manager

    def _add(self, plugin: LoadedPlugin) -> None:
        assert self._manager is not None
        self._manager.register(plugin.target, name=plugin.name)
        self._plugins[plugin.name] = plugin

    def _add_isolated(self, plugin: LoadedPlugin) -> None:
        assert self._manager is not None
        try:
            self._add(plugin)
        except Exception as error:  # noqa: BLE001  # a stranger's plugin must not take the others down: recorded, shown, raised when strict
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            self._break(plugin, error)

    def _break(self, plugin: LoadedPlugin, error: BaseException) -> None:
        if plugin.dist is None or self.settings.plugins_strict:
            raise BrokenComponent(f"plugin {plugin.name}: {type(error).__name__}: {error}") from error
        self._broken.append(BrokenPlugin(name=plugin.name, dist=plugin.dist, version=plugin.version, error=error))

    def _collect_kinds(self, plugin_names: Iterable[str]) -> None:
        for plugin, kinds in self._call_each("twinkle_kinds", set(plugin_names)):
            for spec in kinds:
                if spec.name in self._kinds:
                    self._break(plugin, InvalidConfig(f"it announces the kind {spec.name!r}, which exists already"))
                    continue
                self._add_kind(spec)

    def _add_kind(self, spec: KindSpec) -> None:
        assert self._manager is not None

        def hook(api_version: int) -> None: ...

        hook.__name__ = hook.__qualname__ = spec.hook
        hook.__doc__ = f"Components of the kind {spec.name!r} by name: {spec.summary}."
        self._manager.add_hookspecs(type("HookOfKind", (), {spec.hook: staticmethod(hookspecs.hookspec(hook))}))
        self._kinds[spec.name] = spec

    def _call_each(self, hook_name: str, only: set[str] | None = None) -> list[tuple[LoadedPlugin, Any]]:
        """Each plugin's own answer to a collecting hook; one that raises is recorded as broken and left out."""
        assert self._manager is not None
        answers = []
        for impl in getattr(self._manager.hook, hook_name).get_hookimpls():
            plugin = self._plugins[impl.plugin_name]
            if only is not None and plugin.name not in only:
                continue
            try:
                answer = impl.function(*(hookspecs.API_VERSION for _ in impl.argnames))
            except Exception as error:  # noqa: BLE001  # recorded with its plugin, shown in listings, raised when strict
                self._break(plugin, error)
                continue
            answers.append((plugin, answer))
        return answers

    def _spec(self, kind: str) -> KindSpec:
        spec = self.kinds.get(kind)
        if spec is None:
            raise UnknownComponent(f"no kind is named {kind!r}.{did_you_mean(kind, self._kinds)}")
        return spec

    def _names(self, kind: str) -> Mapping[str, tuple[Component, ...]]:
        index = self._components.get(kind)
        if index is not None:
            return index
        spec = self._spec(kind)
        with self._lock:
            if kind not in self._components:
                self._components[kind] = self._index(spec)
            return self._components[kind]

    def _index(self, spec: KindSpec) -> dict[str, tuple[Component, ...]]:
        index: dict[str, tuple[Component, ...]] = {}
        for plugin, mapping in self._call_each(spec.hook):
            own: dict[str, Component] = {}
            try:
                for name, target in mapping.items():
                    component = Component(spec.name, name, target, plugin)
                    for alias in dict.fromkeys((name, component.class_name)):
                        known = own.setdefault(alias, component)
                        if known.entry != component.entry:
                            raise InvalidConfig(
                                f"{spec.name} name {alias!r} stands for both {known.entry} and {component.entry}: rename one of them"
                            )
            except Exception as error:  # noqa: BLE001  # a malformed mapping is the plugin's fault: recorded, shown, raised when strict
                self._break(plugin, error)
                continue
            for alias, component in own.items():
                index[alias] = (*index.get(alias, ()), component)
        return index


def _override_ref(spec: KindSpec, name: str, override: str) -> NameRef:
    ref = parse(override)
    if not isinstance(ref, NameRef) or ref.package is None:
        raise InvalidConfig(f'[tool.twinkle.override] "{spec.name}:{name}" = {override!r}: expected "package/name"')
    return ref
