"""Finding components on hubs: a list of names to look at. It imports, fetches and approves nothing."""

from __future__ import annotations

from collections.abc import Sequence

from twinkle.core.contracts.component_hub import Found, HubSearcher
from twinkle.core.errors import HubUnavailable, InvalidRef
from twinkle.core.refs import HubRef, parse
from twinkle.core.runtime.context import ProcessContext
from twinkle.hub_loader.component_hub import component_hub


def search_hub(scheme: str, query: str, limit: int, context: ProcessContext) -> Sequence[tuple[HubRef, Found]]:
    """What the hub of ``scheme`` lists for ``query``. A name that is no id by our grammar could never be used and is left out.

    Raises:
        HubUnavailable: offline, the hub does not answer, or its plugin cannot search.
    """
    if context.settings.offline:
        raise HubUnavailable(f"{scheme}://: nothing can be searched while offline (TWINKLE_OFFLINE)")
    hub = component_hub(scheme, context)
    if not isinstance(hub, HubSearcher):
        raise HubUnavailable(f"{scheme}://: the plugin that serves it cannot search")
    found: list[tuple[HubRef, Found]] = []
    for item in hub.search(query, limit):
        try:
            ref = parse(f"{scheme}://{item.repo}")
        except InvalidRef:
            continue
        if isinstance(ref, HubRef) and (ref.revision, ref.component) == (None, None):
            found.append((ref, item))
    return found
