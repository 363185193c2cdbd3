"""``twinkle-component.toml``: what a repository says about its components. Read as data; it can name nothing outside its own tree."""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from twinkle.core.errors import InvalidRef
from twinkle.core.refs import HubRef, NameRef, parse
from twinkle.core.suggestion import did_you_mean
from twinkle.hub_loader.errors import InvalidManifest
from twinkle.hub_loader.tree import ComponentTree

FILE_NAME = "twinkle-component.toml"
SCHEMA = 1

_TOP_KEYS = frozenset({"schema", "project", "component"})
_PROJECT_KEYS = frozenset(
    {"name", "version", "license", "summary", "requires-twinkle", "requires-python", "dependencies", "optional-dependencies"}
)
_COMPONENT_KEYS = frozenset({"kind", "name", "entry", "api", "tests", "targets", "params", "native"})
_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
_ENTRY = re.compile(rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*:{_IDENTIFIER}", re.ASCII)
_COMPONENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_PROJECT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_ELSEWHERE = re.compile(r"://|--|\.git\b|^\s*(?:/|~(?!=)|[A-Za-z]:[\\/]|file:|py:|git\+)|(?:^|[/\\])\.\.(?:[/\\]|$)| @ ")
"""How a string leads out of the repository: a URL, a hub's cache name, an absolute path, a step upwards, a direct reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestComponent:
    """One ``[[component]]``."""

    kind: str
    name: str
    entry: str
    """``module:Attribute`` inside the tree; ``__init__`` is the root package."""
    api: int = 1
    tests: tuple[str, ...] = ()
    targets: Mapping[str, Any] = field(default_factory=dict)
    """Patches: what they touch, as ``package = "version range"``, ``modules``, ``reversible``, ``conflicts``, ``after``."""
    conflicts: tuple[str, ...] = ()
    """Patches: names and hub ids of those that must not be applied beside it."""
    after: tuple[str, ...] = ()
    """Patches: names of those that have to be applied before it, where they are applied at all."""
    params: Mapping[str, Any] = field(default_factory=dict)
    native: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A parsed manifest."""

    name: str
    version: str
    components: tuple[ManifestComponent, ...]
    license: str | None = None
    summary: str = ""
    requires_twinkle: str = ""
    requires_python: str = ""
    dependencies: tuple[str, ...] = ()
    unknown_keys: tuple[str, ...] = ()
    """Keys of a newer or misspelt manifest: a warning when it is loaded, an error when it is published."""


def manifest_of(tree: ComponentTree, where: str) -> Manifest | None:
    """The manifest in ``tree``, checked against its files; None for the legacy layout. Warns of unknown keys.

    Raises:
        InvalidManifest: it breaks a rule, or an entry names a module that the tree does not have.
    """
    data = tree.files.get(FILE_NAME)
    if data is None:
        return None
    manifest = parse_manifest(data, where)
    for component in manifest.components:
        module = component.entry.partition(":")[0]
        if module_path(tree, module) is None:
            raise InvalidManifest(f"{where}: entry {component.entry!r}: there is no {module.replace('.', '/')}.py in this repository")
    if manifest.unknown_keys:
        warnings.warn(f"{where}: {FILE_NAME} has unknown keys {', '.join(manifest.unknown_keys)}", stacklevel=2)
    return manifest


def module_path(tree: ComponentTree, module: str) -> str | None:
    """The file of ``tree`` that is the module ``module`` (dotted, relative to the root; ``__init__`` is the root itself)."""
    if module == "__init__":
        return "__init__.py" if "__init__.py" in tree.files else None
    base = module.replace(".", "/")
    return next((path for path in (f"{base}/__init__.py", f"{base}.py") if path in tree.files), None)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest that ``data`` writes; ``where`` names it in errors.

    Raises:
        InvalidManifest: no TOML, a newer schema, a missing or malformed key, or a string that leads out of the repository.
    """
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidManifest(f"{where}: {FILE_NAME} is no TOML file: {error}") from error
    schema = table.get("schema")
    if type(schema) is not int or schema < 1:
        raise InvalidManifest(f"{where}: expected 'schema = {SCHEMA}', got {schema!r}")
    if schema > SCHEMA:
        raise InvalidManifest(f"{where}: schema {schema} needs a newer twinkle-workbench: this one reads schema {SCHEMA}")
    _check_stays_inside(table, where)
    project = _table(table, "project", where)
    listed = table.get("component")
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise InvalidManifest(f"{where}: expected one [[component]] or more")
    components = tuple(_component(item, f"{where}: [[component]] {i + 1}") for i, item in enumerate(listed))
    _check_unique(components, where)
    unknown = [f"{key!r}.{did_you_mean(key, _TOP_KEYS)}" for key in table if key not in _TOP_KEYS]
    unknown += [f"project.{key!r}.{did_you_mean(key, _PROJECT_KEYS)}" for key in project if key not in _PROJECT_KEYS]
    unknown += [f"component.{key!r}.{did_you_mean(key, _COMPONENT_KEYS)}" for item in listed for key in item if key not in _COMPONENT_KEYS]
    name = _string(project, "name", f"{where}: [project]")
    if not _PROJECT_NAME.fullmatch(name):
        raise InvalidManifest(f"{where}: project name {name!r}: expected letters, digits, '.', '_', '-'")
    return Manifest(
        name=name,
        version=_string(project, "version", f"{where}: [project]"),
        components=components,
        license=_string(project, "license", where, "") or None,
        summary=_string(project, "summary", where, ""),
        requires_twinkle=_string(project, "requires-twinkle", where, ""),
        requires_python=_string(project, "requires-python", where, ""),
        dependencies=_strings(project, "dependencies", where),
        unknown_keys=tuple(unknown),
    )


def _component(item: Mapping[str, Any], where: str) -> ManifestComponent:
    kind, name, entry = (_string(item, key, where) for key in ("kind", "name", "entry"))
    if not _KIND.fullmatch(kind):
        raise InvalidManifest(f"{where}: kind {kind!r}: expected small letters, such as 'loss'")
    if not _COMPONENT_NAME.fullmatch(name):
        raise InvalidManifest(f"{where}: name {name!r}: expected a letter or '_', then letters, digits, '.', '_', '-'")
    if not _ENTRY.fullmatch(entry):
        raise InvalidManifest(f"{where}: entry {entry!r}: expected 'module:Class' of this repository, such as 'impl:DapoLoss'")
    api, native = item.get("api", 1), item.get("native", False)
    if type(api) is not int:
        raise InvalidManifest(f"{where}: api: expected a whole number, got {api!r}")
    if type(native) is not bool or (native and kind != "kernel"):
        raise InvalidManifest(f"{where}: native: expected true or false, and true for a kernel alone")
    targets = _table(item, "targets", where, optional=True)
    conflicts, after = _strings(targets, "conflicts", where), _strings(targets, "after", where)
    for key, names in (("conflicts", conflicts), ("after", after)):
        for name_or_id in names:
            _check_named(key, name_or_id, where)
    return ManifestComponent(
        kind=kind,
        name=name,
        entry=entry,
        api=api,
        tests=_strings(item, "tests", where),
        targets=MappingProxyType(targets),
        conflicts=conflicts,
        after=after,
        params=MappingProxyType(_table(item, "params", where, optional=True)),
        native=native,
    )


def _check_unique(components: tuple[ManifestComponent, ...], where: str) -> None:
    seen: set[tuple[str, str]] = set()
    for component in components:
        if (component.kind, component.name) in seen:
            raise InvalidManifest(f"{where}: {component.kind} {component.name!r} stands there twice")
        seen.add((component.kind, component.name))


def _check_named(key: str, text: str, where: str) -> None:
    """``conflicts`` is the one place that names other repositories; the names are compared and never fetched."""
    try:
        ref = parse(text)
    except InvalidRef as error:
        raise InvalidManifest(f"{where}: {key}: {error}") from None
    if not isinstance(ref, HubRef | NameRef):
        raise InvalidManifest(f"{where}: {key}: expected a name or a hub id, got {text!r}")


def _check_stays_inside(table: Mapping[str, Any], where: str) -> None:
    for path, text in _texts(table, ""):
        if _ELSEWHERE.search(text) and not path.endswith(".targets.conflicts"):
            raise InvalidManifest(
                f"{where}: {path.lstrip('.')} = {text!r}: a manifest names no other repository, URL or path outside its own"
            )


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Every string of ``value``, keys included, with where it stands."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, inner in value.items():
                yield f"{path}.{key}", key
                yield from _texts(inner, f"{path}.{key}")
        case list():
            for inner in value:
                yield from _texts(inner, path)
        case _:
            return


def _table(parent: Mapping[str, Any], key: str, where: str, optional: bool = False) -> dict[str, Any]:
    value = parent.get(key, {} if optional else None)
    if not isinstance(value, dict):
        raise InvalidManifest(f"{where}: expected a table [{key}], got {value!r}")
    return value


def _string(parent: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = parent.get(key, default)
    if not isinstance(value, str) or (default is None and not value):
        raise InvalidManifest(f'{where}: expected {key} = "...", got {value!r}')
    return value


def _strings(parent: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = parent.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidManifest(f'{where}: expected {key} = ["..."], got {value!r}')
    return tuple(value)
