"""The ``if TYPE_CHECKING:`` blocks of the facades, made from what they forward: ``python -m twinkle.core.facade_source`` rewrites them."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from twinkle.core.facade import Facade


def facades() -> Iterator[tuple[ModuleType, Facade]]:
    """Every module beside the links in ``src/twinkle`` that was made with ``lazy_names``."""
    root = Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):  # rglob follows no links: the rooms are left out
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(("twinkle", *(part for part in parts if part != "__init__")))
        module = importlib.import_module(name)
        facade = getattr(vars(module).get("__getattr__"), "__self__", None)
        if isinstance(facade, Facade):
            yield module, facade


def block(facade: Facade) -> str:
    """The block for ``facade``: one explicit re-export a name."""
    lines = []
    for name, target in facade.names.items():
        module, _, attribute = target.partition(":")
        if not attribute:
            module, _, attribute = module.rpartition(".")
        lines.append((module, _import_order(attribute), f"    from {module} import {attribute} as {name}\n"))
    return "if TYPE_CHECKING:\n" + "".join(line for _, _, line in sorted(lines))


def with_block(source: str, facade: Facade) -> str:
    """``source`` with the block in place of the one that it has, or after its imports."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    old = next((n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name) and n.test.id == "TYPE_CHECKING"), None)
    if old is not None and old.end_lineno is not None:
        return "".join([*lines[: old.lineno - 1], block(facade), *lines[old.end_lineno :]])
    last_import = max(node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    return "".join([*lines[:last_import], "\n", block(facade), *lines[last_import:]])


def _import_order(name: str) -> tuple[int, str]:
    """Constants, classes, functions: the order in which ruff sorts imported names."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def main() -> None:
    """Rewrites what differs, and says so."""
    for module, facade in facades():
        path = Path(str(module.__file__))
        source = path.read_text(encoding="utf-8")
        wanted = with_block(source, facade)
        if wanted != source:
            path.write_text(wanted, encoding="utf-8")
            print(f"rewrote {path}")


if __name__ == "__main__":
    main()
