"""What the hub loader tells the core: it loads the components of folders and hubs, and the files of ModelScope and Hugging Face."""

from __future__ import annotations

from twinkle.core.contracts.component_source import ComponentSource
from twinkle.core.contracts.hub import Hub
from twinkle.core.hookspecs import hookimpl
from twinkle.core.refs import FileRef, HubRef
from twinkle.core.runtime.context import current

SCHEMES: dict[str, str] = {
    "hf": "twinkle.hub_loader.hubs.huggingface:HuggingFaceHub",
    "ms": "twinkle.hub_loader.hubs.modelscope:ModelScopeHub",
}


@hookimpl
def twinkle_hubs() -> dict[str, str]:
    """The hubs by name."""
    return {"huggingface": SCHEMES["hf"], "modelscope": SCHEMES["ms"]}


@hookimpl
def twinkle_hub(scheme: str) -> Hub | None:
    """The hub for ``ms://`` and ``hf://``; its SDK is imported when it is asked for something."""
    from twinkle.hub_loader.component_hub import own_hub

    return own_hub(scheme)


@hookimpl
def twinkle_component_source(ref: HubRef | FileRef) -> ComponentSource | None:
    """The source for ``file:`` references, and for those of every hub that serves components."""
    from twinkle.hub_loader.component_hub import serves_components
    from twinkle.hub_loader.source import folder_source, hub_source

    if isinstance(ref, FileRef):
        return folder_source(current())
    return hub_source(current()) if serves_components(ref.scheme, current()) else None
