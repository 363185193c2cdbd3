"""The settings of a process. This is the only file that reads ``os.environ`` and the project's ``[tool.twinkle]`` table."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from twinkle.core.errors import InvalidConfig, InvalidRef
from twinkle.core.refs import NameRef, parse
from twinkle.core.suggestion import did_you_mean

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})
_PROJECT_KEYS = frozenset({"override"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the environment and the project say, read once and passed on; workers get it explicitly."""

    home: Path = field(default_factory=lambda: Path.home() / ".twinkle")
    """``TWINKLE_HOME``: where components, trust and caches of this user lie."""
    hub_mirror: Path | None = None
    """``TWINKLE_HUB_MIRROR``: a folder ``<scheme>/<owner>/<name>/`` that stands in for every hub."""
    plugins: frozenset[str] | None = None
    """``TWINKLE_PLUGINS``: the installed plugins that may load, "none" or names with commas; unset means all."""
    plugins_strict: bool = False
    """``TWINKLE_PLUGINS_STRICT``: a plugin that cannot be loaded is an error instead of a note."""
    offline: bool = False
    """``TWINKLE_OFFLINE``: no hub is asked for anything."""
    locked: bool = False
    """``TWINKLE_LOCKED``: only what stands in ``twinkle.lock`` may load."""
    lock_trust_project: bool = False
    """``TWINKLE_LOCK_TRUST=project``: a lock that came with the project counts as this user's consent (for CI)."""
    trust_remote_code: str | None = None
    """``TWINKLE_TRUST_REMOTE_CODE``: "0" forbids every component of a hub; "1" changes nothing and is deprecated."""
    trusted: tuple[str, ...] = ()
    """``TWINKLE_TRUST``: exact digests ``ms://o/r@<commit>#h1:<digest>``, separated by white space."""
    mode: str = "local"
    """``TWINKLE_MODE``: the executor of a process that never calls ``initialize``."""
    seed: int = 42
    """``TWINKLE_SEED``."""
    full_determinism: bool = False
    """``TWINKLE_FULL_DETERMINISM``: deterministic kernels only, where the device has them."""
    device: str | None = None
    """``TWINKLE_DEVICE``: "cpu", "cuda", "npu" or "mps"; unset means the best one there is."""
    rank: int = -1
    """``RANK``, as torchrun sets it; -1 without."""
    local_rank: int = -1
    """``LOCAL_RANK``; -1 without."""
    world_size: int = 1
    """``WORLD_SIZE``; 1 without."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """``[tool.twinkle.override]`` of the project: ``"loss:grpo" = "my_pkg/grpo"`` puts an installed component before a built-in one."""

    @staticmethod
    def load(environ: Mapping[str, str] | None = None, project: Path | None = None) -> Settings:
        """The settings of ``environ`` (this process's without) and of ``project``'s pyproject.toml (that of the current folder without).

        Raises:
            InvalidConfig: a variable or a key has a value that it cannot have.
        """
        env = os.environ if environ is None else environ
        defaults = Settings()
        return Settings(
            home=Path(env["TWINKLE_HOME"]).expanduser() if env.get("TWINKLE_HOME") else defaults.home,
            hub_mirror=Path(env["TWINKLE_HUB_MIRROR"]).expanduser() if env.get("TWINKLE_HUB_MIRROR") else None,
            plugins=_plugins(env.get("TWINKLE_PLUGINS")),
            plugins_strict=_flag(env, "TWINKLE_PLUGINS_STRICT"),
            offline=_flag(env, "TWINKLE_OFFLINE"),
            locked=_flag(env, "TWINKLE_LOCKED"),
            lock_trust_project=_choice(env, "TWINKLE_LOCK_TRUST", "project") is not None,
            trust_remote_code=_choice(env, "TWINKLE_TRUST_REMOTE_CODE", "0", "1"),
            trusted=tuple(env.get("TWINKLE_TRUST", "").split()),
            mode=env.get("TWINKLE_MODE") or defaults.mode,
            seed=_integer(env, "TWINKLE_SEED", defaults.seed),
            full_determinism=_flag(env, "TWINKLE_FULL_DETERMINISM"),
            device=env.get("TWINKLE_DEVICE") or None,
            rank=process_rank(env),
            local_rank=_integer(env, "LOCAL_RANK", -1),
            world_size=_integer(env, "WORLD_SIZE", 1),
            overrides=_overrides((Path.cwd() if project is None else project) / "pyproject.toml"),
        )


def process_rank(environ: Mapping[str, str] | None = None) -> int:
    """The global rank of this process (``RANK``), -1 where no launcher set one. Read anew at each call: launchers set it late."""
    return _integer(os.environ if environ is None else environ, "RANK", -1)


def reserve_cublas_workspace() -> None:
    """Sets ``CUBLAS_WORKSPACE_CONFIG``, without which torch refuses deterministic matrix products on CUDA; an own value stays."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise InvalidConfig(f"{name}={text!r}: expected a whole number") from None


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").lower()
    if text not in _TRUE | _FALSE:
        raise InvalidConfig(f"{name}={text!r}: expected 1 or 0")
    return text in _TRUE


def _choice(env: Mapping[str, str], name: str, *choices: str) -> str | None:
    text = env.get(name)
    if not text:
        return None
    if text not in choices:
        raise InvalidConfig(f"{name}={text!r}: expected {' or '.join(map(repr, choices))}, or nothing")
    return text


def _plugins(text: str | None) -> frozenset[str] | None:
    if text is None or not text.strip():
        return None
    if text.strip() == "none":
        return frozenset()
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _overrides(pyproject: Path) -> Mapping[str, str]:
    if not pyproject.is_file():
        return {}
    try:
        table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{pyproject} is no TOML file: {error}") from error
    ours = _table(_table(table, "tool", pyproject), "twinkle", pyproject)
    for key in ours:
        if key not in _PROJECT_KEYS:
            raise InvalidConfig(f"{pyproject}: unknown key [tool.twinkle] {key!r}.{did_you_mean(key, _PROJECT_KEYS)}")
    overrides = _table(ours, "override", pyproject)
    for key, value in overrides.items():
        if not (_is_name_ref(key, "kind") and _is_name_ref(value, "package")):
            raise InvalidConfig(f'{pyproject}: [tool.twinkle.override] expected "kind:name" = "package/name", got {key!r} = {value!r}')
    return dict(overrides)


def _table(parent: Mapping[str, Any], key: str, pyproject: Path) -> Mapping[str, Any]:
    table = parent.get(key, {})
    if not isinstance(table, dict):
        raise InvalidConfig(f"{pyproject}: expected {key!r} to be a table, got {table!r}")
    return table


def _is_name_ref(text: object, part: Literal["kind", "package"]) -> bool:
    """Whether ``text`` is a component's name with just that part before it."""
    try:
        ref = parse(text) if isinstance(text, str) else None
    except InvalidRef:
        return False
    return isinstance(ref, NameRef) and (ref.kind is not None, ref.package is not None) == (part == "kind", part == "package")
