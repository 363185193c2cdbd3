"""The layout of Hugging Face ``kernels`` repositories: which module of a tree holds the layer that a reference means. Imports nothing.

A build lies in ``build/<variant>/``, its package there or, in older ones, in a folder of its own below; sources lie in
``torch-ext/<package>/``. Layers are the classes of the package's module ``layers``. Only builds for every machine are taken, which are pure
Python and Triton: one for all devices, or one a device where their code is the same. A native build has compiled files, which the file rule
refuses. ``kernel-status.toml`` may send a reader to another repository: nobody is sent anywhere, since consent was given to this one.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from twinkle.core.errors import AmbiguousComponent, InvalidData
from twinkle.core.suggestion import did_you_mean
from twinkle.hub_loader.errors import NoComponent
from twinkle.hub_loader.tree import ComponentTree

_STATUS = "kernel-status.toml"
_UNIVERSAL = "torch-universal"
_BUILD = re.compile(r"build/(torch-[a-z]+)/", re.ASCII)
"""A build for every machine; those for one have versions in their names."""


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """A layer class of a tree."""

    name: str
    entry: str
    """``module:Class``."""
    why: str


def has_kernel_layout(tree: ComponentTree) -> bool:
    """Whether ``tree`` is a repository of Hugging Face kernels."""
    return _STATUS in tree.files or any(path.startswith(("build/torch", "torch-ext/")) for path in tree.files)


def find_layer(tree: ComponentTree, name: str | None, where: str) -> FoundLayer:
    """The layer class ``name`` (None: the only one) of a repository of kernels.

    Raises:
        NoComponent: the repository points elsewhere, or has no build that runs everywhere, or no such layer.
        AmbiguousComponent: a name is needed.
    """
    _check_stays(tree, where)
    root = _package(tree, where)
    path = next((p for p in (f"{root}/layers.py", f"{root}/layers/__init__.py") if p in tree.files), None)
    if path is None:
        raise NoComponent(f"{where}: {root} has no module 'layers': a kernel is named by a layer class, as in '{where}#RMSNorm'")
    names = _class_names(tree.files[path], f"{where}: {path}")
    if name is None:
        if len(names) != 1:
            shown = " or ".join(f"'#{n}'" for n in names) or "'#' and the name of a layer"
            raise AmbiguousComponent(f"{where} is a repository of layers: write {shown} after it")
        name = names[0]
    elif name not in names and path.endswith("layers.py"):
        raise NoComponent(f"{where} has no layer {name!r}.{did_you_mean(name, names)}")
    module = path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    return FoundLayer(name, f"{module}:{name}", f"{path} has the layer {name}; nothing says which versions it is for")


def _check_stays(tree: ComponentTree, where: str) -> None:
    if _STATUS not in tree.files:
        return
    try:
        status = tomllib.loads(tree.files[_STATUS].decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"{where}: {_STATUS} is no TOML file: {error}") from error
    if status.get("kind") == "redirect":
        raise NoComponent(
            f"{where} says that it moved to {status.get('destination')!a}: that is not followed, since it is another repository: name it "
            "yourself and approve it"
        )


def _package(tree: ComponentTree, where: str) -> str:
    """The folder of the package."""
    variants = {match[1] for path in tree.files if (match := _BUILD.match(path))}
    builds = [f"build/{variant}" for variant in ({_UNIVERSAL} if _UNIVERSAL in variants else sorted(variants))]
    if any(_code(tree, build) != _code(tree, builds[0]) for build in builds):
        raise NoComponent(
            f"{where}: its builds {', '.join(builds)} differ, and none is for every device (build/{_UNIVERSAL}): which one "
            "runs would depend on the machine"
        )
    for folder in (*builds[:1], "torch-ext"):
        packages = [folder] if f"{folder}/__init__.py" in tree.files else list(_packages(tree, folder))
        if len(packages) == 1:
            return packages[0]
        if packages:
            raise NoComponent(f"{where}: expected one package in {folder}/, found {', '.join(packages)}")
    raise NoComponent(f"{where}: expected a package in build/{_UNIVERSAL}/ or torch-ext/, found none; native builds are not loaded")


def _code(tree: ComponentTree, folder: str) -> dict[str, bytes]:
    """The modules below ``folder``; the other files of a build name its device."""
    return {path.removeprefix(folder): data for path, data in tree.files.items() if path.startswith(f"{folder}/") and path.endswith(".py")}


def _packages(tree: ComponentTree, folder: str) -> Iterator[str]:
    for path in sorted(tree.files):
        parent, _, name = path.rpartition("/")
        if name == "__init__.py" and parent.rpartition("/")[0] == folder:
            yield parent


def _class_names(source: bytes, where: str) -> list[str]:
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise InvalidData(f"{where} is no Python: {error}") from error
    return [node.name for node in module.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
