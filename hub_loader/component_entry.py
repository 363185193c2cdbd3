"""From a tree to a component: which entry a reference means (without an import), and the object behind it (with one)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from twinkle.core.kinds import KindSpec
from twinkle.core.layer_class import is_layer_class, kernel_of_layer
from twinkle.core.legacy_patch import is_legacy_patch, modern_patch
from twinkle.hub_loader.compatibility import check_compatible
from twinkle.hub_loader.errors import NoComponent
from twinkle.hub_loader.kernel_layout import find_layer, has_kernel_layout
from twinkle.hub_loader.loader import import_module, package_of
from twinkle.hub_loader.manifest import FILE_NAME, manifest_of
from twinkle.hub_loader.selection import ONLY, select_listed, select_named, select_only
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust import Approval


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundEntry:
    """A component of a tree."""

    name: str
    entry: str
    """``module:Attribute``, or ``module:*`` for the only class of the kind."""
    version: str | None
    why: str
    conflicts: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def find_entry(tree: ComponentTree, spec: KindSpec, component: str | None, where: str, root: PurePath) -> FoundEntry:
    """The entry that ``component`` (after the '#'; None: the only one) means in ``tree``. Imports nothing.

    Raises:
        InvalidManifest: the manifest breaks a rule.
        NoComponent: there is neither a manifest nor a root ``__init__.py`` nor a single file, or nothing of that name.
        AmbiguousComponent: a name is needed.
    """
    manifest = manifest_of(tree, where)
    if manifest is not None:
        listed = select_listed(manifest, spec.name, component, where)
        return FoundEntry(
            name=listed.name,
            entry=listed.entry,
            version=manifest.version,
            why=f"{FILE_NAME} lists {listed.entry}",
            conflicts=listed.conflicts,
            after=listed.after,
        )
    if spec.name == "kernel" and has_kernel_layout(tree):
        layer = find_layer(tree, component, where)
        return FoundEntry(name=layer.name, entry=layer.entry, version=None, why=layer.why)
    if len(tree.files) == 1 and root.suffix == ".py":
        module = root.stem
    elif "__init__.py" in tree.files:
        module = "__init__"
    else:
        raise NoComponent(f"{where}: expected {FILE_NAME}, or an __init__.py with one {spec.name} (the older layout), found neither")
    if not module.isidentifier():
        raise NoComponent(f"{where}: {module!r} is no module name: expected letters, digits and '_'")
    name = component or ONLY
    return FoundEntry(name=component or root.stem, entry=f"{module}:{name}", version=None, why="no manifest: compatibility unknown")


def load_entry(approval: Approval, spec: KindSpec, entry: str) -> Any:
    """The class or function that ``entry`` means, imported from approved bytes.

    Raises:
        IncompatibleComponent: its manifest asks for other versions than those that are installed; nothing was imported.
        BrokenComponent: the import failed.
        NoComponent, AmbiguousComponent: the module does not have the one object that is meant.
    """
    manifest = manifest_of(approval.tree, approval.where)
    if manifest is not None:
        for component in manifest.components:
            if component.entry == entry and component.kind == spec.name:
                check_compatible(manifest, component, approval.where)
    module_name, _, attribute = entry.partition(":")
    module = import_module(approval, module_name)
    package = package_of(approval.tree.h1)
    if attribute == ONLY:
        found = select_only(module, package, spec, approval.where)
    else:
        found = select_named(module, attribute, package, approval.where)
    if spec.name == "patch" and isinstance(found, type) and is_legacy_patch(found):
        return modern_patch(found)
    if spec.name == "kernel" and isinstance(found, type) and is_layer_class(found):
        return kernel_of_layer(found)
    return found
