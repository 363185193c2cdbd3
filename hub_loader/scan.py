"""A static look at a component's source, for the eyes of whoever decides. It finds what is written plainly and nothing that hides."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from twinkle.hub_loader.tree import ComponentTree

NO_FINDINGS = "no findings (not a guarantee)"

_CALLS = {
    "exec": "runs text as code",
    "eval": "runs text as code",
    "compile": "compiles text to code",
    "__import__": "imports by a computed name",
    "importlib.import_module": "imports by a computed name",
    "os.system": "starts a process",
    "os.popen": "starts a process",
    "pickle.load": "unpickles, which can run code",
    "pickle.loads": "unpickles, which can run code",
    "torch.load": "may unpickle, which can run code",
    "marshal.loads": "loads compiled code",
    "ctypes.CDLL": "loads native code",
    "setattr": "changes attributes by name",
}
_MODULES = {
    "subprocess": "can start processes",
    "socket": "can use the network",
    "requests": "can use the network",
    "httpx": "can use the network",
    "urllib": "can use the network",
    "ctypes": "can load native code",
    "base64": "can hide text",
    "marshal": "can load compiled code",
}


def scan(tree: ComponentTree) -> list[str]:
    """Findings as ``path:line: what``, in order. It only informs: no finding forbids anything, and none does not make code harmless."""
    findings = []
    for path, data in tree.files.items():
        if not path.endswith(".py"):
            continue
        try:
            module = ast.parse(data)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            findings.append(f"{path}: cannot be parsed: {error}")
            continue
        findings += [f"{path}:{line}: {what}" for line, what in sorted(set(_look(module)))]
    return findings


def _look(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        match node:
            case ast.Call(func=func):
                name = ast.unparse(func) if isinstance(func, ast.Name | ast.Attribute) else ""
                if name in _CALLS:
                    yield node.lineno, f"{name}(...) {_CALLS[name]}"
            case ast.Import(names=names):
                for alias in names:
                    if (top := alias.name.partition(".")[0]) in _MODULES:
                        yield node.lineno, f"import {alias.name}: {_MODULES[top]}"
            case ast.ImportFrom(module=str(name), level=0) if name.partition(".")[0] in _MODULES:
                yield node.lineno, f"from {name} import ...: {_MODULES[name.partition('.')[0]]}"
            case _:
                pass
