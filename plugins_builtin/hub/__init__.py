"""Built-in hubs: the mirror folder, which stands in for every scheme where one is set."""

from __future__ import annotations

from twinkle.core.contracts.hub import Hub
from twinkle.core.hookspecs import hookimpl
from twinkle.core.runtime.context import current

COMPONENTS: dict[str, str] = {"mirror": "twinkle.plugins_builtin.hub._mirror:MirrorHub"}


@hookimpl
def twinkle_hubs() -> dict[str, str]:
    """The names of this folder."""
    return COMPONENTS


@hookimpl(tryfirst=True)
def twinkle_hub(scheme: str) -> Hub | None:
    """The mirror, where ``TWINKLE_HUB_MIRROR`` names one."""
    root = current().settings.hub_mirror
    if root is None:
        return None
    from twinkle.plugins_builtin.hub._mirror import MirrorHub

    return MirrorHub(root)
