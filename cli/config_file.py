"""A configuration file to a frozen dataclass: TOML, JSON or YAML, every key and every value checked, errors that name the file and key."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twinkle.core.errors import InvalidConfig, MissingExtra
from twinkle.core.suggestion import did_you_mean

Config = TypeVar("Config")

SUFFIXES = (".toml", ".json", ".yaml", ".yml")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A component by name, with its arguments: ``"AdamW"``, or a table ``{ use = "AdamW", lr = 1e-4 }``."""

    use: str
    """A name, ``package/name``, ``file:folder#Name`` or hub id."""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Every other key of the table."""


def read_config(cls: type[Config], path: Path) -> Config:
    """The ``cls`` that ``path`` writes.

    Raises:
        InvalidConfig: not readable as its suffix says, an unknown or missing key, or a value of the wrong type.
    """
    return _dataclass(cls, _parse(path), str(path))


def _parse(path: Path) -> object:
    if path.suffix not in SUFFIXES:
        raise InvalidConfig(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        return json.loads(text) if path.suffix == ".json" else _parse_yaml(text, path)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} cannot be read as {path.suffix[1:].upper()}: {error}") from error
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}") from error


def _parse_yaml(text: str, path: Path) -> object:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra(f"{path}: YAML needs pip install 'twinkle-workbench[train]'; TOML and JSON need nothing") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{path} cannot be read as YAML: {error}") from error


def _dataclass(cls: type[Config], table: object, where: str) -> Config:
    if not isinstance(table, Mapping):
        raise InvalidConfig(f"{where}: expected a table of keys, got {_shown(table)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in fields:
            raise InvalidConfig(f"{where}: unknown key {key!r}.{did_you_mean(str(key), fields)}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in table and not optional:
            raise InvalidConfig(f"{where}: the key {name!r} is missing")
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return cls(**values)
    except InvalidConfig as error:  # a rule between values, which knows no file
        raise InvalidConfig(f"{where}: {error}") from error


def _value(hint: Any, value: object, where: str) -> Any:
    """``value`` as ``hint`` says: plain types, ``X | None``, ``tuple[X, ...]`` (one X stands for a tuple of one), dataclasses."""
    if isinstance(hint, types.UnionType):
        inner = [h for h in typing.get_args(hint) if h is not types.NoneType]
        return None if value is None else _first_that_fits(inner, value, where)
    if typing.get_origin(hint) is tuple:
        (item, _) = typing.get_args(hint)
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return tuple(_value(item, v, f"{where}[{i}]" if len(values) > 1 else where) for i, v in enumerate(values))
    if hint is Use:
        return _use(value, where)
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type[Any], hint), value, where)
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not hint:
        raise InvalidConfig(f"{where}: expected {_NAMES.get(hint, hint)}, got {_shown(value)}")
    return value


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", Path: "a path as a string"}


def _first_that_fits(hints: Sequence[Any], value: object, where: str) -> Any:
    for hint in hints[:-1]:
        if type(value) is hint:
            return value
    return _value(hints[-1], value, where)


def _use(value: object, where: str) -> Use:
    if isinstance(value, str):
        return Use(use=value)
    if not isinstance(value, Mapping) or not isinstance(value.get("use"), str):
        raise InvalidConfig(f'{where}: expected the name of a component, or a table {{ use = "name", ... }}, got {_shown(value)}')
    return Use(use=value["use"], arguments={key: v for key, v in value.items() if key != "use"})


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value!r}"
