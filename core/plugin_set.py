"""The plugins of one registry. Each hook is asked plugin by plugin, so that a broken plugin is left out, named, and takes no other down."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pluggy

from twinkle.core import hookspecs
from twinkle.core.errors import BrokenComponent, InvalidArgument, InvalidConfig
from twinkle.core.kinds import KINDS, KindSpec
from twinkle.core.plugin_loading import BrokenPlugin, LoadedPlugin, load_builtin_plugins, load_installed_plugins
from twinkle.core.settings import Settings
from twinkle.core.suggestion import did_you_mean


class PluginSet:
    """Plugins, the kinds they bring, and what was broken. Mappings are replaced, not changed, so that readers need no lock."""

    def __init__(self, settings: Settings) -> None:
        """Loads every plugin that ``settings`` allow.

        Raises:
            BrokenComponent: one of them is broken, and ``settings.plugins_strict`` is set.
        """
        self._strict = settings.plugins_strict
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._core_hooks = frozenset(vars(self._manager.hook))
        self._broken: dict[tuple[str, str], BrokenPlugin] = {}
        self.plugins: Mapping[str, LoadedPlugin] = {}
        self.kinds: Mapping[str, KindSpec] = {spec.name: spec for spec in KINDS}
        for plugin in load_builtin_plugins():
            self._register(plugin)
        loaded, broken = load_installed_plugins(settings)
        for failed in broken:
            self._broken[failed.name, failed.where] = failed
        for plugin in loaded:
            try:
                self._register(plugin)
            except Exception as error:  # noqa: BLE001  # a stranger's plugin: recorded, shown in listings, raised when strict
                self.report(plugin, "register", error)
        self._collect_kinds(self.plugins)
        for plugin, hook, reason in self._unknown_hooks():
            self.report(plugin, hook, reason)

    @property
    def broken(self) -> tuple[BrokenPlugin, ...]:
        """What was left out so far; a hook that is asked later can add to it."""
        return tuple(self._broken.values())

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks, to call."""
        return self._manager.hook

    def add(self, plugin: LoadedPlugin) -> None:
        """Registers one more plugin, whole or not at all.

        Raises:
            InvalidConfig: the name is taken.
            BrokenComponent: a hook of it is wrong.
        """
        if plugin.name in self.plugins:
            raise InvalidConfig(f"a plugin named {plugin.name!r} is registered already")
        plugins, kinds, broken = self.plugins, self.kinds, dict(self._broken)
        try:
            self._register(plugin)
            self._collect_kinds([plugin.name])
            for owner, hook, reason in self._unknown_hooks():
                if owner is plugin:
                    self.report(plugin, hook, reason)
            for key in self._broken.keys() - broken.keys():
                raise BrokenComponent(str(self._broken[key]))
        except (BrokenComponent, ValueError, pluggy.PluginValidationError) as error:
            self._manager.unregister(name=plugin.name)
            self.plugins, self.kinds, self._broken = plugins, kinds, broken
            raise BrokenComponent(f"plugin {plugin.name!r} was not registered: {error}") from error

    def remove(self, name: str) -> None:
        """Unregisters a plugin that :meth:`add` added; kinds that it brought stay.

        Raises:
            InvalidConfig: there is no such plugin.
        """
        if name not in self.plugins:
            raise InvalidConfig(f"no plugin named {name!r} is registered.{did_you_mean(name, self.plugins)}")
        self._manager.unregister(name=name)
        self.plugins = {other: plugin for other, plugin in self.plugins.items() if other != name}

    def ask(self, hook: str) -> Iterator[tuple[LoadedPlugin, Any]]:
        """Each plugin's own answer to a collecting hook, in order of registration; one that raises is reported and left out."""
        return self._each(hook, {"api_version": hookspecs.API_VERSION})

    def tell(self, hook: str, arguments: Mapping[str, object]) -> None:
        """Calls an event hook of every plugin, in order of registration. One that raises is reported, with a warning the first time.

        Raises:
            InvalidArgument: there is no such event, or ``arguments`` are not those of its specification.
        """
        if hook not in self._core_hooks:
            raise InvalidArgument(f"there is no event {hook!r}.{did_you_mean(hook, self._core_hooks)}")
        takes = vars(self._manager.hook)[hook].spec.argnames
        if set(takes) != set(arguments):
            raise InvalidArgument(f"the event {hook!r} takes {', '.join(takes)}; got {', '.join(arguments)}")
        before = set(self._broken)
        for _ in self._each(hook, arguments):
            pass
        for key in self._broken.keys() - before:
            warnings.warn(f"plugin {self._broken[key]}", stacklevel=3)

    def report(self, plugin: LoadedPlugin, where: str, error: Exception) -> None:
        """Records that ``where`` of ``plugin`` is broken.

        Raises:
            BrokenComponent: it is one of ours, or the settings are strict.
        """
        broken = BrokenPlugin(name=plugin.name, dist=plugin.dist, version=plugin.version, error=error, where=where)
        if plugin.dist is None or self._strict:
            raise BrokenComponent(f"plugin {broken}") from error
        self._broken.setdefault((plugin.name, where), broken)

    def _register(self, plugin: LoadedPlugin) -> None:
        before = self.plugins
        self.plugins = {**before, plugin.name: plugin}  # first: whoever calls a hook meanwhile has to find its plugin
        try:
            self._manager.register(plugin.target, name=plugin.name)
        except Exception:
            self.plugins = before
            raise

    def _each(self, hook: str, arguments: Mapping[str, object]) -> Iterator[tuple[LoadedPlugin, Any]]:
        for impl in vars(self._manager.hook)[hook].get_hookimpls():
            plugin = self.plugins[impl.plugin_name]
            try:
                answer = impl.function(*(arguments[name] for name in impl.argnames))
            except Exception as error:  # noqa: BLE001  # recorded with its plugin, shown in listings, raised when strict
                self.report(plugin, hook, error)
                continue
            yield plugin, answer

    def _collect_kinds(self, names: Collection[str]) -> None:
        """Adds the kinds that the plugins ``names`` announce. Two plugins may announce the same kind, but not two kinds of one name."""
        announced: dict[str, list[tuple[LoadedPlugin, KindSpec]]] = {}
        for plugin, specs in self.ask("twinkle_kinds"):
            if plugin.name not in names:
                continue
            if not isinstance(specs, Sequence) or not all(isinstance(spec, KindSpec) for spec in specs):
                self.report(plugin, "twinkle_kinds", InvalidConfig(f"expected a list of KindSpec, got {specs!r}"))
                continue
            for spec in specs:
                announced.setdefault(spec.name, []).append((plugin, spec))
        for name, claims in announced.items():
            rivals = {spec for _, spec in claims} | ({self.kinds[name]} if name in self.kinds else set())
            if len(rivals) > 1:
                who = " and ".join(plugin.package for plugin, _ in claims) if name not in self.kinds else "what exists already"
                for plugin, _ in claims:
                    self.report(plugin, "twinkle_kinds", InvalidConfig(f"the kind {name!r} collides with {who}: rename it"))
            elif name not in self.kinds:
                self._add_kind(*claims[0])

    def _add_kind(self, plugin: LoadedPlugin, spec: KindSpec) -> None:
        if spec.hook in self._known_hooks():
            self.report(plugin, "twinkle_kinds", InvalidConfig(f"kind {spec.name!r}: the hook {spec.hook!r} exists already: rename it"))
            return

        def hook(api_version: int) -> None: ...

        hook.__name__ = hook.__qualname__ = spec.hook
        hook.__doc__ = f"Components of the kind {spec.name!r} by name: {spec.summary}."
        try:
            if spec.hook not in vars(self._manager.hook) or not vars(self._manager.hook)[spec.hook].has_spec():
                self._manager.add_hookspecs(type("HookOfKind", (), {spec.hook: staticmethod(hookspecs.hookspec(hook))}))
        except pluggy.PluginValidationError as error:  # an implementation names arguments that the hook does not have
            names = {id(p.target): p for p in self.plugins.values()}
            self.report(names[id(error.plugin)], spec.hook, error)
        self.kinds = {**self.kinds, spec.name: spec}

    def _unknown_hooks(self) -> Iterator[tuple[LoadedPlugin, str, InvalidConfig]]:
        """Implementations of hooks that nobody specified: a typo, or a kind whose plugin is not installed (``optionalhook`` says so)."""
        known = self._known_hooks()
        for name, caller in vars(self._manager.hook).items():
            for impl in () if name in known else caller.get_hookimpls():
                if not impl.optionalhook:
                    error = InvalidConfig(f"there is no hook {name!r}.{did_you_mean(name, known)}")
                    yield self.plugins[impl.plugin_name], name, error

    def _known_hooks(self) -> frozenset[str]:
        return self._core_hooks | {spec.hook for spec in self.kinds.values()}
