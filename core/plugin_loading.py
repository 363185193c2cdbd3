"""Finding plugins: the built-in hook modules, and the packages that announce an entry point in the group ``twinkle``."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass

from twinkle.core.errors import BrokenComponent, InvalidConfig
from twinkle.core.settings import Settings
from twinkle.core.suggestion import did_you_mean

ENTRY_POINT_GROUP = "twinkle"

BUILTIN_PLUGINS: tuple[str, ...] = (
    "twinkle.plugins_builtin.checkpoint_engine",
    "twinkle.plugins_builtin.dataloader",
    "twinkle.plugins_builtin.dataset",
    "twinkle.plugins_builtin.executor",
    "twinkle.plugins_builtin.filter",
    "twinkle.plugins_builtin.hub",
    "twinkle.plugins_builtin.kernel",
    "twinkle.plugins_builtin.loss",
    "twinkle.plugins_builtin.lr_scheduler",
    "twinkle.plugins_builtin.metric",
    "twinkle.plugins_builtin.model",
    "twinkle.plugins_builtin.optimizer",
    "twinkle.plugins_builtin.patch",
    "twinkle.plugins_builtin.preprocessor",
    "twinkle.plugins_builtin.processor",
    "twinkle.plugins_builtin.template",
    "twinkle.plugins_builtin.tracker",
    "twinkle.hub_loader.plugin",
)
"""Light hook modules of our own. They are imported by name, as a stranger's would be: core imports no room."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPlugin:
    """A plugin that was imported."""

    name: str
    dist: str | None
    """The distribution that it came with; None for the built-in ones."""
    version: str | None
    target: object
    """The module or object that carries the hooks."""
    entry: str = ""
    """Where it was imported from; empty for an object that was registered by hand."""

    @property
    def package(self) -> str:
        """What users write before the slash."""
        return self.dist or "twinkle"

    @property
    def top_module(self) -> str:
        """The import package that it lies in."""
        return self.entry.partition(":")[0].partition(".")[0]


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin, or one hook of it, that was left out, and why."""

    name: str
    dist: str | None
    version: str | None
    error: BaseException
    where: str = "import"
    """``import``, ``register`` or the name of the hook that failed."""

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        return f"{self.dist or self.name}{version}, {self.where}: {type(self.error).__name__}: {self.error}"


def normalized(dist: str) -> str:
    """A distribution name as the package index compares it (PEP 503), with '_' and '-' equal."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def load_builtin_plugins() -> list[LoadedPlugin]:
    """Our own hook modules; one that does not import is a bug of ours and raises."""
    return [LoadedPlugin(name=name, dist=None, version=None, target=importlib.import_module(name), entry=name) for name in BUILTIN_PLUGINS]


def load_installed_plugins(settings: Settings) -> tuple[list[LoadedPlugin], list[BrokenPlugin]]:
    """The plugins of installed packages that ``settings.plugins`` allows, and those that failed to import.

    The allow-list is applied before anything is imported. An editable install shows up twice and counts once.

    Raises:
        BrokenComponent: a plugin failed and ``settings.plugins_strict`` is set.
    """
    if settings.plugins is not None and not settings.plugins:
        return [], []
    import importlib_metadata  # costs 20 ms, which `import twinkle` must not pay

    wanted = {normalized(name): name for name in settings.plugins or ()}
    known: set[str] = set()
    loaded: list[LoadedPlugin] = []
    broken: list[BrokenPlugin] = []
    seen: set[tuple[str, str]] = set()
    for point in importlib_metadata.entry_points(group=ENTRY_POINT_GROUP):
        dist, version = (point.dist.name, point.dist.version) if point.dist is not None else (point.name, None)
        names = {normalized(point.name), normalized(dist)}
        known |= names
        key = (normalized(dist), point.value)
        if key in seen or (settings.plugins is not None and names.isdisjoint(wanted)):
            continue
        seen.add(key)
        name = f"{normalized(dist)}:{point.name}"
        try:
            loaded.append(LoadedPlugin(name=name, dist=dist, version=version, target=point.load(), entry=point.value))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # recorded, raised when strict; an import can also call sys.exit()
            broken.append(BrokenPlugin(name=name, dist=dist, version=version, error=error))
    for missing in wanted.keys() - known:
        message = f"TWINKLE_PLUGINS names {wanted[missing]!r}, which no installed package announces.{did_you_mean(missing, known)}"
        broken.append(BrokenPlugin(name=wanted[missing], dist=None, version=None, error=InvalidConfig(message)))
    if broken and settings.plugins_strict:
        raise BrokenComponent(f"plugin {broken[0]}") from broken[0].error
    return loaded, broken
