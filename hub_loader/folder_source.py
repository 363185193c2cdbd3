"""Components of the user's own folders: ``file:./mine#Name``, ``file:./my_loss.py#MyLoss``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinkle.core.kinds import KindSpec
from twinkle.core.refs import FileRef, HubRef
from twinkle.core.resolved import Resolved
from twinkle.hub_loader.component_entry import find_entry, load_entry
from twinkle.hub_loader.errors import Tampered, UntrustedComponent
from twinkle.hub_loader.hubs.file import read_local
from twinkle.hub_loader.tree import ComponentTree
from twinkle.hub_loader.trust import Candidate, TrustPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSource:
    """Resolves and loads ``file:`` references. It keeps nothing: what runs is what :meth:`load` read and hashed."""

    policy: TrustPolicy
    kinds: dict[str, KindSpec]

    def resolve(self, kind: str, ref: HubRef | FileRef) -> Resolved:
        """The component in the folder, found without importing it.

        Raises:
            HubUnavailable: nothing is there.
            UntrustedComponent: others can write there, or this is a server.
            NoComponent, AmbiguousComponent: it does not say which component of ``kind`` is meant.
        """
        assert isinstance(ref, FileRef)
        root = _root(ref)
        if not self.policy.allows_local:
            raise UntrustedComponent(f"{ref}: a server runs no code from folders; put a component into its lock")
        tree = ComponentTree.of(read_local(root))
        found = find_entry(tree, self.kinds[kind], ref.component, f"file:{ref.path}", root)
        return Resolved(
            kind=kind,
            name=found.name,
            entry=found.entry,
            origin="file",
            ref=str(ref),
            repo=str(root),
            h1=tree.h1,
            version=found.version,
            conflicts=found.conflicts,
            after=found.after,
            trust="local",
            trace=(f"{str(ref)!r} is a path of this machine", f"{tree.h1} of {len(tree.files)} files", found.why),
        )

    def load(self, resolved: Resolved) -> Any:
        """Imports what :meth:`resolve` found.

        Raises:
            Tampered: the folder has other bytes by now.
            BrokenComponent: it cannot be imported.
        """
        assert resolved.repo is not None
        root = Path(resolved.repo)
        tree = ComponentTree.of(read_local(root))
        if tree.h1 != resolved.h1:
            raise Tampered(
                f"{resolved.ref}: the files in {root} changed since it was resolved ({resolved.h1}, now {tree.h1}): resolve it again"
            )
        return load_entry(self.policy.authorize(_candidate(tree, root)), self.kinds[resolved.kind], resolved.entry)


def _root(ref: FileRef) -> Path:
    return Path(ref.path).expanduser().resolve()


def _candidate(tree: ComponentTree, root: Path) -> Candidate:
    shown_root = root if root.is_dir() else root.parent
    return Candidate(tree=tree, origin="file", where=f"file:{root}", shown_root=str(shown_root))
