"""The components of one kind by every name that they answer to, and which of them a name means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        """The name of the class itself, the second name that means it; empty for a lambda."""
        return _class_name(self.target)

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
    """The components of one kind. Filled plugin by plugin, then only read.

    An entry is checked when it is asked for and when all are listed, not before: ten thousand that nobody asks for would cost 20 ms.
    One that is no component is told to ``report`` and left out; the others of its plugin stay.
    """

    def __init__(self, kind: str, report: Callable[[LoadedPlugin, InvalidConfig], None]) -> None:
        self.kind = kind
        self._report = report
        self._by_name: dict[str, list[tuple[LoadedPlugin, Any, Any]]] = {}
        self._listed: tuple[Component, ...] | None = None

    def add(self, plugin: LoadedPlugin, announced: object) -> None:
        """Takes in what one plugin announced.

        Raises:
            InvalidConfig: it is no mapping of names to classes or import strings.
        """
        if not isinstance(announced, Mapping):
            raise InvalidConfig(f"expected a mapping of names to 'module:Class', got {type(announced).__name__}")
        for name, target in announced.items():
            entry = (plugin, name, target)
            self._by_name.setdefault(name, []).append(entry)
            class_name = _class_name(target)
            if class_name and class_name != name:
                self._by_name.setdefault(class_name, []).append(entry)

    def named(self, name: str) -> list[Component]:
        """The components that answer to ``name``: by their own name or by that of their class."""
        return [c for entry in self._by_name.get(name, ()) if (c := self._component(*entry)) is not None]

    @property
    def names(self) -> set[str]:
        """Every name that means something here, class names included."""
        return {name for c in self.components for name in (c.name, c.class_name) if name}

    @property
    def components(self) -> tuple[Component, ...]:
        """Each component once, in order of their names. A name that stands for two components of one plugin is reported too."""
        if self._listed is None:
            own = (entry for name, entries in self._by_name.items() for entry in entries if entry[1] == name)
            components = [c for entry in own if (c := self._component(*entry)) is not None]
            for name, entries in self._by_name.items():
                if len(entries) > 1:
                    self._report_clashes(name)
            self._listed = tuple(sorted(components, key=lambda c: (c.name, c.plugin.name)))
        return self._listed

    def _component(self, plugin: LoadedPlugin, name: Any, target: Any) -> Component | None:
        """What was announced; None, and a report, where it is no component."""
        if not isinstance(name, str) or not is_name(name):
            problem = f"{name!r} is no name: expected a letter or '_', then at most 63 letters, digits, '.', '_' or '-'"
        elif isinstance(target, str) and not is_import_string(target):
            problem = f"{name!r}: expected an import string 'module:Class', got {target!r}"
        elif not _qualified_name(target):
            problem = f"{name!r}: expected a class or an import string 'module:Class', got {target!r}"
        else:
            return Component(self.kind, name, target, plugin)
        self._report(plugin, InvalidConfig(problem))
        return None

    def _report_clashes(self, name: str) -> None:
        first: dict[LoadedPlugin, Component] = {}
        for component in self.named(name):
            known = first.setdefault(component.plugin, component)
            if known.target != component.target:
                both = f"{known.entry} and {component.entry}"
                self._report(component.plugin, InvalidConfig(f"the name {name!r} stands for both {both}: rename one of them"))

    def choose(self, ref: NameRef, overrides: Mapping[str, str]) -> Choice | None:
        """What ``ref`` means: ``package/name`` is that package's; else the project's override, the built-in one, the only installed one.

        Raises:
            AmbiguousComponent: several packages, or one package twice, announce the name.
        """
        candidates = self.named(ref.name)
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


def _class_name(target: Any) -> str:
    """The last part of what stands after the colon; empty where that is no name ('<lambda>')."""
    name = _qualified_name(target).rpartition(".")[2]
    return name if name.isidentifier() else ""


def _qualified_name(target: Any) -> str:
    """What stands after the colon; empty for what is neither class, function nor string."""
    if isinstance(target, str):
        return target.rpartition(":")[2]
    return getattr(target, "__qualname__", "") if callable(target) else ""


def _of_package(candidates: Iterable[Component], package: str) -> list[Component]:
    """Those of the distribution ``package``; where there are none, those whose plugin module lies in an import package of that name."""
    wanted = normalized(package)
    exact = [c for c in candidates if normalized(c.plugin.package) == wanted]
    return exact or [c for c in candidates if c.plugin.dist is not None and normalized(c.plugin.top_module) == wanted]
