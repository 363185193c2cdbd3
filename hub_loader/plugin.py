"""What the hub loader tells the core: it loads the components of folders."""

from __future__ import annotations

from twinkle.core.contracts.component_source import ComponentSource
from twinkle.core.hookspecs import hookimpl
from twinkle.core.refs import FileRef, HubRef
from twinkle.core.runtime.context import current


@hookimpl
def twinkle_component_source(ref: HubRef | FileRef) -> ComponentSource | None:
    """The source for ``file:`` references."""
    if not isinstance(ref, FileRef):
        return None
    from twinkle.hub_loader.folder_source import FolderSource
    from twinkle.hub_loader.trust import TrustPolicy

    context = current()
    return FolderSource(policy=TrustPolicy.of(context.settings), kinds=dict(context.registry.kinds))
