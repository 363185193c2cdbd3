"""What the modules of the rooms import, read from their source: nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("core", "kernels", "hub_loader", "plugins_builtin", "client", "server", "cli", "testing")


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's target, as written in one module."""

    module: str
    """Where it stands: ``twinkle.core.registry``."""
    target: str
    """The module that is imported; for ``from package import name`` the submodule, where there is one."""
    line: int
    at_module_level: bool
    """Executed when the module is imported: neither in a function nor under TYPE_CHECKING."""
    is_relative: bool


def room_files() -> Iterator[tuple[Path, str]]:
    """Every Python file of the rooms with its import name."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            package = ("twinkle_client", *parts[1:]) if room == "client" else ("twinkle", *parts)
            yield path, ".".join(part for part in package if part != "__init__")


@cache
def room_imports() -> tuple[Import, ...]:
    """Every import statement of the rooms."""
    modules = {name for _, name in room_files()}
    return tuple(i for path, name in room_files() for i in _imports(ast.parse(path.read_text(encoding="utf-8")), name, modules))


def _imports(tree: ast.Module, module: str, modules: set[str]) -> Iterator[Import]:
    deferred = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, id(node) not in deferred, False)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                target = submodule if submodule in modules else node.module or ""
                yield Import(module, target, node.lineno, id(node) not in deferred, node.level > 0)
