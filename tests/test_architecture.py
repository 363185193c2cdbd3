"""The dependency rule: which room may import which. The tables are the rule."""

from __future__ import annotations

import graphlib
import sys

import pytest
from import_graph import ROOMS, ROOT, Import, room_imports

MAY_IMPORT = {
    "core": set(),
    "kernels": {"core"},
    "hub_loader": {"core"},
    "plugins_builtin": {"core", "kernels"},
    "client": {"core"},
    "server": {"core"},
    "server.engine": {"core", "kernels"},
    "cli": {"core", "hub_loader"},
    "testing": {"core"},
}
"""Rooms find each other's components by name, through the registry of core. Facades (``twinkle.loss`` ...) are for users."""

CORE_THIRD_PARTY = {"pluggy", "importlib_metadata", "numpy"}
CORE_IN_FUNCTIONS = {"torch", "torch_npu", "packaging"}
"""What core asks only where the package is there anyway, or for annotations."""

HEAVY_AT_MODULE_LEVEL = {"torch": ("plugins_builtin", "kernels", "server.engine")}

ONLY_IN_ITS_OWN_PLACE = {"ray", "vllm", "megatron", "modelscope_hub", "huggingface_hub"}
"""Imported in functions, in a package or module that bears the name: ``executor/ray``, ``hubs/huggingface.py``."""


def room_of(module: str) -> str:
    """``twinkle.core.registry`` -> ``core``; the engine of the server is a room of its own here; a facade is ''."""
    parts = ["twinkle", "client", *module.split(".")[1:]] if module.startswith("twinkle_client") else module.split(".")
    if parts[:3] == ["twinkle", "server", "engine"]:
        return "server.engine"
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def where(imported: Import) -> str:
    """For a message."""
    return f"{imported.module}:{imported.line} imports {imported.target}"


def test_a_room_imports_only_what_it_may() -> None:
    breaches = []
    for imported in room_imports():
        room, target = room_of(imported.module), room_of(imported.target)
        ours = imported.target.split(".")[0] in {"twinkle", "twinkle_client"}
        if ours and target != room and target.removesuffix(".engine") not in MAY_IMPORT[room] | {room.removesuffix(".engine")}:
            breaches.append(where(imported))
    assert not breaches, "against the dependency rule (MAY_IMPORT):\n" + "\n".join(breaches)


def test_imports_are_absolute() -> None:
    assert not [where(i) for i in room_imports() if i.is_relative], "relative imports make second copies of a room's classes"


def test_core_needs_little() -> None:
    always = sys.stdlib_module_names | CORE_THIRD_PARTY | {"twinkle"}
    found = [(i, i.target.split(".")[0]) for i in room_imports() if room_of(i.module) == "core"]
    assert not [where(i) for i, name in found if name not in always and (i.at_module_level or name not in CORE_IN_FUNCTIONS)]


@pytest.mark.parametrize("package", HEAVY_AT_MODULE_LEVEL)
def test_a_heavy_package_is_imported_at_module_level_only_where_it_may(package: str) -> None:
    found = [i for i in room_imports() if i.at_module_level and i.target.split(".")[0] == package]
    assert not [where(i) for i in found if room_of(i.module) not in HEAVY_AT_MODULE_LEVEL[package]]


@pytest.mark.parametrize("package", sorted(ONLY_IN_ITS_OWN_PLACE))
def test_a_backend_is_imported_in_functions_of_its_own_place(package: str) -> None:
    name = package.removesuffix("_hub")
    found = [i for i in room_imports() if i.target.split(".")[0] == package]
    misplaced = [i for i in found if i.at_module_level or not any(part.strip("_").startswith(name) for part in i.module.split("."))]
    assert not [where(i) for i in misplaced]


@pytest.mark.parametrize("room", ROOMS)
def test_modules_of_a_room_import_each_other_in_one_direction(room: str) -> None:
    graph: dict[str, set[str]] = {}
    for imported in room_imports():
        if room_of(imported.module).removesuffix(".engine") == room and imported.target.startswith("twinkle"):
            graph.setdefault(imported.module, set()).add(imported.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports, those under TYPE_CHECKING included: {' <- '.join(error.args[1])}")


def test_kernels_hide_no_package_of_that_name() -> None:
    """With an __init__.py, the folder would be found before the package ``kernels`` wherever the root is on sys.path."""
    assert not (ROOT / "kernels" / "__init__.py").exists()
