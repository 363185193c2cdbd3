"""Imports components from memory: the bytes that were hashed and approved are the bytes that run.

Each tree becomes a package ``twinkle_components.c_<first 16 digits of its h1>``: the loader picks the name, so that no component can stand
in for another module, several versions live side by side, and relative imports work. ``sys.path`` is not touched and no ``.pyc`` is read
or written. Nothing gets in without an :class:`~twinkle.hub_loader.trust.Approval`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twinkle.core.errors import BrokenComponent
from twinkle.hub_loader.errors import Tampered, UntrustedComponent
from twinkle.hub_loader.trust import Approval

TOP = "twinkle_components"
_PREFIX = TOP + ".c_"
_LOCK = threading.RLock()  # one import of a component at a time: a failed one must put back what it found


def package_of(h1: str) -> str:
    """The package that the tree with digest ``h1`` is imported as."""
    return _PREFIX + h1.removeprefix("h1:")[:16]


class TreeLoader(importlib.abc.InspectLoader):
    """Runs the modules of one approved tree."""

    def __init__(self, approval: Approval) -> None:
        self.approval = approval
        self.package = package_of(approval.tree.h1)

    def path_of(self, fullname: str) -> str | None:
        """The file of the tree that is the module ``fullname``; None where there is none."""
        inner = fullname.removeprefix(self.package).lstrip(".").replace(".", "/")
        candidates = (f"{inner}/__init__.py", f"{inner}.py") if inner else ("__init__.py",)
        return next((path for path in candidates if path in self.approval.tree.files), None)

    def is_folder(self, fullname: str) -> bool:
        """Whether ``fullname`` is a folder of the tree without an ``__init__.py`` of its own, or the root."""
        inner = fullname.removeprefix(self.package).lstrip(".").replace(".", "/")
        return not inner or any(path.startswith(inner + "/") for path in self.approval.tree.files)

    def is_package(self, fullname: str) -> bool:
        """Whether submodules may follow."""
        path = self.path_of(fullname)
        return path is None or path.rpartition("/")[2] == "__init__.py"

    def get_source(self, fullname: str) -> str:
        """The source as text, from the verified bytes."""
        path = self.path_of(fullname)
        return "" if path is None else importlib.util.decode_source(self.approval.tree.files[path])

    def get_filename(self, fullname: str) -> str:
        """Where a reader finds the file; it is shown in tracebacks and never opened."""
        path = self.path_of(fullname)
        return f"{self.approval.shown_root}/{path or fullname.removeprefix(self.package).lstrip('.').replace('.', '/') + '/__init__.py'}"

    def get_data(self, path: str) -> bytes:
        """The bytes of a file beside the modules, for ``pkgutil.get_data``."""
        inner = path.removeprefix(self.approval.shown_root + "/")
        if inner not in self.approval.tree.files:
            raise FileNotFoundError(f"{path}: {self.approval.where} has no such file")
        return self.approval.tree.files[inner]

    def exec_module(self, module: types.ModuleType) -> None:
        """Runs the module's verified source in its own namespace."""
        fullname = module.__name__
        path = self.path_of(fullname)
        if path is None:
            return
        filename = self.get_filename(fullname)
        source = self.get_source(fullname)
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)  # None: never read again from disk
        code = compile(self.approval.tree.files[path], filename, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # the one place where foreign code runs


class ComponentFinder(importlib.abc.MetaPathFinder):
    """Finds ``twinkle_components.c_*`` among the approved trees of this process, then among those of the store that it approves."""

    def __init__(self) -> None:
        self.loaders: dict[str, TreeLoader] = {}
        self.approved_package: Callable[[str], Approval | None] = lambda package: None
        """Finds a package among what this process approves, for unpickling."""

    def mount(self, approval: Approval) -> str:
        """Makes an approved tree importable; returns its package.

        Raises:
            Tampered: another tree has the same first 16 digits.
        """
        package = package_of(approval.tree.h1)
        mounted = self.loaders.setdefault(package, TreeLoader(approval))
        if mounted.approval.tree.h1 != approval.tree.h1:
            raise Tampered(f"{approval.where}: {approval.tree.h1} begins like {mounted.approval.tree.h1}, which was made to look like it")
        return package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a module of a mounted tree.

        Raises:
            UntrustedComponent: the package belongs to a tree that is not approved in this process.
        """
        if not fullname.startswith(_PREFIX):
            return None
        package = ".".join(fullname.split(".", 2)[:2])
        if package not in self.loaders:
            approval = self.approved_package(package)
            if approval is not None:
                self.mount(approval)
        loader = self.loaders.get(package)
        if loader is None:
            raise UntrustedComponent(
                f"{package} is a component whose bytes are not approved in this process: resolve its reference here first, "
                "or send it as a Resolved value"
            )
        if loader.path_of(fullname) is None and not loader.is_folder(fullname):
            return None
        spec = importlib.machinery.ModuleSpec(
            fullname, loader, origin=loader.get_filename(fullname), is_package=loader.is_package(fullname)
        )
        spec.has_location = True  # sets __file__
        return spec


def component_finder() -> ComponentFinder:
    """The finder of this process, in ``sys.meta_path`` from the first call on."""
    with _LOCK:
        for finder in sys.meta_path:
            if isinstance(finder, ComponentFinder):
                return finder
        finder = ComponentFinder()
        sys.meta_path.append(finder)
        return finder


def import_module(approval: Approval, module: str) -> types.ModuleType:
    """The module ``module`` (relative to the root; ``__init__`` is the root) of an approved tree; imported once.

    A failure takes away every module that the attempt had added, and puts ``sys.path`` and the import hooks back.

    Raises:
        BrokenComponent: it cannot be imported; the cause is chained.
    """
    with _LOCK:
        package = component_finder().mount(approval)
        name = package if module == "__init__" else f"{package}.{module}"
        try:
            with _restored_on_failure(package):
                return importlib.import_module(name)
        except (Exception, SystemExit) as error:
            hint = _hint(error, approval)
            message = f"{approval.where} ({approval.tree.h1}) could not be imported: {type(error).__name__}: {error}{hint}"
            raise BrokenComponent(message) from error


@contextmanager
def _restored_on_failure(package: str) -> Iterator[None]:
    before = {name for name in sys.modules if name == package or name.startswith(package + ".")}
    hooks: list[tuple[list[Any], list[Any]]] = [(live, list(live)) for live in (sys.path, sys.meta_path, sys.path_hooks)]
    try:
        yield
    except BaseException:
        for live, saved in hooks:
            live[:] = saved
        for name in [n for n in sys.modules if (n == package or n.startswith(package + ".")) and n not in before]:
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
        if not before:
            component_finder().loaders.pop(package, None)
        raise


def _hint(error: BaseException, approval: Approval) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and (f"{missing}.py" in approval.tree.files or f"{missing}/__init__.py" in approval.tree.files):
        return f" (it is in the component: write 'from . import {missing}')"
    return ""
