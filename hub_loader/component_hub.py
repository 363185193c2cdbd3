"""Which hub serves the components of a scheme: one that a plugin brings, else our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinkle.core.contracts.component_hub import HubReader
from twinkle.core.errors import HubUnavailable
from twinkle.core.runtime.context import ProcessContext, current

if TYPE_CHECKING:
    from twinkle.hub_loader.hubs.huggingface import HuggingFaceHub
    from twinkle.hub_loader.hubs.modelscope import ModelScopeHub


def own_hub(scheme: str) -> HuggingFaceHub | ModelScopeHub | None:
    """Our own hub for ``scheme``."""
    offline = current().settings.offline
    match scheme:
        case "hf":
            from twinkle.hub_loader.hubs.huggingface import HuggingFaceHub

            return HuggingFaceHub(offline=offline)
        case "ms":
            from twinkle.hub_loader.hubs.modelscope import ModelScopeHub

            return ModelScopeHub(offline=offline)
        case _:
            return None


def component_hub(scheme: str, context: ProcessContext) -> HubReader:
    """The hub that components of ``scheme`` come from. A mirror folder serves files only, so that ours stays in charge of components.

    Raises:
        HubUnavailable: none is there.
    """
    hub: Any = context.registry.hook.twinkle_hub(scheme=scheme)
    if isinstance(hub, HubReader):
        return hub
    ours = own_hub(scheme)
    if ours is None:
        raise HubUnavailable(f"{scheme}://: no installed plugin serves components of this scheme")
    return ours


def serves_components(scheme: str, context: ProcessContext) -> bool:
    """Whether :func:`component_hub` has one."""
    return own_hub(scheme) is not None or isinstance(context.registry.hook.twinkle_hub(scheme=scheme), HubReader)
