"""The components of one kind by every name that they answer to, and which of them a name means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twinkle.core.errors import AmbiguousComponent, InvalidConfig
from twinkle.core.import_string import is_import_string
from twinkle.core.plugin_loading import LoadedPlugin, normalized
from twinkle.core.refs import NameRef, is_name


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One announced name of one plugin: a row of ``twinkle components list``."""

    kind: str
    name: str
    target: Any
    """The class or function, or ``"module:Attribute"``."""
    plugin: LoadedPlugin

    @property
    def entry(self) -> str:
        """``module:Attribute``."""
        return self.target if isinstance(self.target, str) else f"{self.target.__module__}:{self.target.__qualname__}"

    @property
    def class_name(self) -> str:
        """The name of the class itself: the second name that means it."""
        return self.entry.rpartition(":")[2].rpartition(".")[2]

    @property
    def qualified(self) -> str:
        """``package/name``: the spelling that only this component answers to."""
        return f"{self.plugin.package}/{self.name}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which component a name means, and why."""

    component: Component
    reasons: tuple[str, ...]
    shadowed: tuple[Component, ...] = ()
    """Installed components of the same name that lost against the built-in one."""


class ComponentIndex:
    """The components of one kind. Filled plugin by plugin, then only read."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._components: list[Component] = []
        self._by_name: dict[str, list[Component]] = {}

    def add(self, plugin: LoadedPlugin, announced: object) -> None:
        """Takes in what one plugin announced: all of it, or nothing.

        Raises:
            InvalidConfig: it is no mapping of names to classes or import strings, or one name stands for two components.
        """
        if not isinstance(announced, Mapping):
            raise InvalidConfig(f"expected a mapping of names to 'module:Class', got {type(announced).__name__}")
        components = [self._component(plugin, name, target) for name, target in announced.items()]
        aliases: dict[str, Component] = {}
        for component in components:
            class_name = component.class_name
            for alias in (component.name, class_name) if class_name.isidentifier() else (component.name,):  # not '<lambda>'
                known = aliases.setdefault(alias, component)
                if known.target != component.target:
                    raise InvalidConfig(f"the name {alias!r} stands for both {known.entry} and {component.entry}: rename one of them")
        self._components.extend(components)
        for alias, component in aliases.items():
            self._by_name.setdefault(alias, []).append(component)

    def _component(self, plugin: LoadedPlugin, name: object, target: object) -> Component:
        if not isinstance(name, str) or not is_name(name):
            raise InvalidConfig(f"{name!r} is no name: expected a letter or '_', then at most 63 letters, digits, '.', '_' or '-'")
        if isinstance(target, str):
            if not is_import_string(target):
                raise InvalidConfig(f"{name!r}: expected an import string 'module:Class', got {target!r}")
        elif not callable(target) or not hasattr(target, "__qualname__"):
            raise InvalidConfig(f"{name!r}: expected a class or an import string 'module:Class', got {target!r}")
        return Component(self.kind, name, target, plugin)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def names(self) -> Iterable[str]:
        """Every name that means something here, class names included."""
        return self._by_name.keys()

    @property
    def components(self) -> tuple[Component, ...]:
        """Each component once, in order of their names."""
        return tuple(sorted(self._components, key=lambda c: (c.name, c.plugin.name)))

    def choose(self, ref: NameRef, overrides: Mapping[str, str]) -> Choice | None:
        """What ``ref`` means: ``package/name`` is that package's; else the project's override, the built-in one, the only installed one.

        Raises:
            AmbiguousComponent: several packages, or one package twice, announce the name.
        """
        candidates = self._by_name.get(ref.name, [])
        if ref.package is not None:
            found = _of_package(candidates, ref.package)
            return Choice(self._only(ref, found), (f"{str(ref)!r} names package {ref.package!r}",)) if found else None
        for name in dict.fromkeys((ref.name, *(c.name for c in candidates))):
            override = overrides.get(f"{self.kind}:{name}")
            if override is not None:
                return self._overriding(name, override)
        builtin = [c for c in candidates if c.plugin.dist is None]
        installed = [c for c in candidates if c.plugin.dist is not None]
        if builtin:
            return Choice(self._only(ref, builtin), (f"{ref.name!r} is built in",), shadowed=tuple(installed))
        if installed:
            component = self._only(ref, installed)
            return Choice(component, (f"{ref.name!r} is announced by {component.plugin.package} alone",))
        return None

    def _overriding(self, name: str, override: str) -> Choice:
        where = f'[tool.twinkle.override] "{self.kind}:{name}" = {override!r}'
        package, _, other = override.partition("/")
        chosen = self.choose(NameRef(other, package), {})
        if chosen is None:
            raise InvalidConfig(f"{where}: no installed package announces that {self.kind}; install it, or take the line out")
        return Choice(chosen.component, (where, *chosen.reasons))

    def _only(self, ref: NameRef, candidates: list[Component]) -> Component:
        by_entry = {(c.plugin.package, c.entry): c for c in reversed(candidates)}
        if len(by_entry) > 1:
            listed = " and ".join(f"{c.qualified} ({c.entry})" for c in candidates)
            packages = {c.plugin.package for c in candidates}
            cure = "write 'package/name' for the one you mean" if len(packages) > 1 else "that package has to rename one of them"
            raise AmbiguousComponent(f"{self.kind} {str(ref)!r} is announced as {listed}: {cure}")
        return candidates[0]


def _of_package(candidates: Iterable[Component], package: str) -> list[Component]:
    """Those of the distribution ``package``; where there are none, those whose plugin module lies in an import package of that name."""
    wanted = normalized(package)
    exact = [c for c in candidates if normalized(c.plugin.package) == wanted]
    return exact or [c for c in candidates if c.plugin.dist is not None and normalized(c.plugin.top_module) == wanted]
