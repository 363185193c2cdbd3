"""Habits that spread are counted. The ceilings may only fall: lower one when you pass below it; to raise one takes a reason in review."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from import_graph import ROOT, room_files

SEAMS = {
    "core/components.py:build": "init arguments, checked against the signature",
    "core/contracts/model.py:forward_backward": "loss arguments by name",
    "core/legacy_patch.py:__init__": "hands the arguments of the older form on",
    "core/patching.py:apply_patch": "init arguments, checked against the signature",
    "core/patching.py:patched": "init arguments, checked against the signature",
    "core/registry.py:tell": "arguments of an event, checked against its hook",
    "core/runtime/remote.py:__call__": "construction of any class",
    "hub_loader/former_name.py:check_unsafe": "public face",
    "plugins_builtin/dataloader/_dataloader.py": "public face",
    "plugins_builtin/dataset/_dataset.py": "public face",
    "plugins_builtin/dataset/_iterable_packing.py:encode": "public face",
    "plugins_builtin/dataset/_lazy.py": "public face",
    "plugins_builtin/dataset/_packing.py:encode": "public face",
    "plugins_builtin/kernel/_attention.py:_forward": "the signature that transformers calls",
    "plugins_builtin/model/transformers/_lora_linear.py:__call__": "stands in for the forward pass of PEFT's layer",
    "plugins_builtin/model/transformers/_recompute.py:_watch": "stands in for the forward pass of any layer",
    "plugins_builtin/model/transformers/_transformers_model.py": "public face",
    "plugins_builtin/model/transformers/_varlen_attention.py:attend": "the signature that transformers calls",
    "plugins_builtin/template/_template.py:__init__": "public face",
}
"""Where ``**kwargs`` may stand: ``file:function``, or a whole file that is a face which users know. The value says why.

The room ``testing`` is left out: its checks call components of any signature.
"""

CEILINGS = {"hasattr and getattr": 20, "broad except": 11, "environment": 3, "global statement": 0, "cached function": 2}

SHARED_STATE = {
    "core/runtime/context.py:_SLOT": "the one process context",
    "hub_loader/loader.py:_LOCK": "sys.modules is one for the process too",
}
"""Module-level objects that change or guard what changes. The value says why it cannot live in the process context."""

MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MUTABLE_TYPES = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict", "bytearray"}
STATEFUL_TYPES = {"ContextVar", "Lock", "RLock", "Condition", "Event", "Semaphore", "local", "WeakKeyDictionary", "WeakValueDictionary"}
MUTATORS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear", "remove", "discard", "appendleft"}


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    """Every file of the rooms, parsed."""
    return tuple((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path, _ in room_files())


def name_of(node: ast.AST) -> str:
    """``threading.Lock`` -> ``Lock``."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def is_getattr(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and name_of(node.func) in {"hasattr", "getattr"}


def is_broad_except(node: ast.AST) -> bool:
    """Catches everything and raises nothing: a boundary that turns an error into a report."""
    if not isinstance(node, ast.ExceptHandler) or any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
        return False
    return node.type is None or any(name_of(caught) in {"Exception", "BaseException"} for caught in ast.walk(node.type))


def reads_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv", "unsetenv"}


def is_global(node: ast.AST) -> bool:
    return isinstance(node, ast.Global)


def is_cached_function(node: ast.AST) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(name_of(d.func if isinstance(d, ast.Call) else d) in {"cache", "lru_cache"} for d in decorators)


COUNTED: dict[str, Callable[[ast.AST], bool]] = {
    "hasattr and getattr": is_getattr,
    "broad except": is_broad_except,
    "environment": reads_environment,
    "global statement": is_global,
    "cached function": is_cached_function,
}


@pytest.mark.parametrize("habit", CEILINGS)
def test_a_habit_stays_below_its_ceiling(habit: str) -> None:
    found = [f"{path}:{node.lineno}" for path, tree in trees() for node in ast.walk(tree) if COUNTED[habit](node)]  # type: ignore[attr-defined]
    assert len(found) <= CEILINGS[habit], f"{habit}: {len(found)}, the ceiling is {CEILINGS[habit]}:\n" + "\n".join(found)


def test_the_environment_is_read_in_one_file() -> None:
    assert {path for path, tree in trees() for node in ast.walk(tree) if reads_environment(node)} <= {"core/settings.py"}


def test_keyword_arguments_are_open_only_at_listed_seams() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    files = [(path, tree) for path, tree in trees() if not path.startswith("testing/")]
    found = {(path, n.name) for path, tree in files for n in ast.walk(tree) if isinstance(n, functions) and n.args.kwarg}
    assert not [f"{path}:{name}" for path, name in sorted(found) if path not in SEAMS and f"{path}:{name}" not in SEAMS]
    used = {path for path, _ in found} | {f"{path}:{name}" for path, name in found}
    assert not SEAMS.keys() - used, "seams that are none any more: take them out of the list"


def module_values() -> Iterator[tuple[str, str, ast.expr]]:
    """File, name and value of every assignment at module level."""
    for path, tree in trees():
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            for target in targets:
                if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                    yield path, target.id, node.value


def test_no_module_holds_state() -> None:
    """A table in capitals is a constant, as long as nothing changes it; anything else that can change is state."""
    found = set()
    tables: dict[str, set[str]] = {}
    for path, name, value in module_values():
        made_by = name_of(value.func) if isinstance(value, ast.Call) else ""
        if made_by in STATEFUL_TYPES:
            found.add(f"{path}:{name}")
        elif isinstance(value, MUTABLE) or made_by in MUTABLE_TYPES:
            tables.setdefault(path, set()).add(name)
            if not name.isupper() and not name.startswith("__"):
                found.add(f"{path}:{name}")
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                changed = name_of(node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
                changed = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            else:
                continue
            if changed in tables.get(path, set()):
                found.add(f"{path}:{changed}")
    assert found == SHARED_STATE.keys()
